// Coordinator drives a training of TCS-FEEL over its REST API, with Go's standard library alone.
//
// It registers the clients of a file, asks who would take part in a round and why, creates a training, and runs one
// round after the other until the training ends.
//
//	TCSFEEL_KEY=… coordinator -server http://127.0.0.1:8080 -clients clients.json -target 0.9 -rounds 20
//
// The file is a JSON list of registrations, each with an "id" and the fields of PUT /v1/clients/{id}.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

const (
	attempts     = 5
	longestPause = 30 * time.Second
	waitSeconds  = 60
	mostFailed   = 3        // rounds in a row
	mostBytes    = 64 << 20 // of an answer
)

type selection struct {
	Selected []struct {
		ClientID string  `json:"client_id"`
		Score    float64 `json:"score"`
	} `json:"selected"`
	Skipped []struct {
		ClientID string `json:"client_id"`
		Reason   string `json:"reason"`
	} `json:"skipped"`
}

type training struct {
	ID         string `json:"id"`
	Status     string `json:"status"`
	StopReason string `json:"stop_reason"`
}

type round struct {
	Number          int      `json:"number"`
	Status          string   `json:"status"`
	SelectedClients []string `json:"selected_clients"`
	AverageAccuracy *float64 `json:"average_accuracy"`
	FailureReason   string   `json:"failure_reason"`
}

// problem is what the server answers if it refuses a call (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail) }

type api struct {
	server, key string
	http        *http.Client
}

// call sends a request and reads the answer into result, unless that is nil. A request that can be repeated is sent
// again if it got no answer, or if the server asks for it: a repeat with the same Idempotency-Key does nothing twice.
func (a *api) call(method, path string, body, result interface{}, headers map[string]string) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	repeatable := method != http.MethodPost || headers["Idempotency-Key"] != ""
	for attempt := 1; ; attempt++ {
		pause, err := a.once(method, path, content, body != nil, result, headers)
		if err == nil || !repeatable || pause == 0 || attempt == attempts {
			return err
		}
		time.Sleep(pause)
	}
}

// once sends a request. If it failed, it also says how long to wait before a repeat; 0 means that none would help.
func (a *api) once(
	method, path string, content []byte, hasBody bool, result interface{}, headers map[string]string,
) (time.Duration, error) {
	var body io.Reader
	if hasBody {
		body = bytes.NewReader(content)
	}
	request, err := http.NewRequest(method, a.server+path, body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+a.key)
	if hasBody {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return time.Second, err
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(io.LimitReader(answer.Body, mostBytes))
	if err != nil {
		return time.Second, err
	}
	if answer.StatusCode < 300 {
		if result == nil {
			return 0, nil
		}
		return 0, json.Unmarshal(read, result)
	}
	refused := &problem{Status: answer.StatusCode, Title: answer.Status}
	json.Unmarshal(read, refused) // a proxy may answer with something else, which is told by its status
	return pauseAfter(answer), refused
}

func pauseAfter(answer *http.Response) time.Duration {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode < 502 {
		return 0
	}
	pause := time.Second
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		pause = time.Duration(seconds) * time.Second
	}
	if pause > longestPause {
		pause = longestPause
	}
	return pause
}

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "the control plane")
	file := flag.String("clients", "clients.json", "file with the clients to register")
	target := flag.Float64("target", 0.9, "accuracy at which the training ends")
	rounds := flag.Int("rounds", 20, "the most rounds")
	flag.Parse()
	a := &api{*server, os.Getenv("TCSFEEL_KEY"), &http.Client{Timeout: (waitSeconds + 30) * time.Second}}
	if err := run(a, *file, *target, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "coordinator:", err)
		os.Exit(1)
	}
}

func run(a *api, file string, target float64, rounds int) error {
	count, err := register(a, file)
	if err != nil {
		return err
	}
	least := (count + 1) / 2
	if err := explain(a, least, count); err != nil {
		return err
	}
	var made training
	err = a.call("POST", "/v1/trainings", map[string]interface{}{
		"name":            "driven by Go",
		"target_accuracy": target,
		"max_rounds":      rounds,
		"selection":       map[string]interface{}{"min_clients": least, "max_clients": count},
	}, &made, map[string]string{"Idempotency-Key": newKey()})
	if err != nil {
		return err
	}
	failed := 0
	for number := 1; number <= rounds; number++ {
		completed, err := runRound(a, made.ID)
		if err != nil {
			return err
		}
		failed++
		if completed {
			failed = 0
		}
		if failed == mostFailed {
			return fmt.Errorf("%d rounds in a row were abandoned", failed)
		}
		if err := a.call("GET", "/v1/trainings/"+made.ID, nil, &made, nil); err != nil {
			return err
		}
		if made.Status != "paused" { // a training rests after each single round, until it has ended
			fmt.Printf("the training has %s: %s\n", made.Status, made.StopReason)
			return nil
		}
	}
	return fmt.Errorf("the target was not reached in %d rounds", rounds)
}

func register(a *api, file string) (int, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var clients []map[string]interface{}
	if err := json.Unmarshal(content, &clients); err != nil {
		return 0, fmt.Errorf("%s should be a JSON list of registrations: %w", file, err)
	}
	for _, client := range clients {
		id, _ := client["id"].(string)
		if err := a.call("PUT", "/v1/clients/"+url.PathEscape(id), client, nil, nil); err != nil {
			return 0, fmt.Errorf("client %q: %w", id, err)
		}
		fmt.Println("registered", id)
	}
	return len(clients), nil
}

func explain(a *api, least, most int) error {
	var plan selection
	rules := map[string]interface{}{"min_clients": least, "max_clients": most, "seed": 7}
	if err := a.call("POST", "/v1/selections", rules, &plan, nil); err != nil {
		return err
	}
	for _, one := range plan.Selected {
		fmt.Printf("would select %s, score %.3f\n", one.ClientID, one.Score)
	}
	for _, one := range plan.Skipped {
		fmt.Printf("would skip %s: %s\n", one.ClientID, one.Reason)
	}
	return nil
}

// runRound runs one round, waits for its end, and says whether it completed. The first answer may come before that: then the round is read again.
func runRound(a *api, trainingID string) (bool, error) {
	var one round
	headers := map[string]string{"Idempotency-Key": newKey(), "Prefer": fmt.Sprintf("wait=%d", waitSeconds)}
	path := "/v1/trainings/" + trainingID + "/rounds"
	if err := a.call("POST", path, nil, &one, headers); err != nil {
		return false, err
	}
	for one.Status != "completed" && one.Status != "abandoned" {
		time.Sleep(time.Second)
		if err := a.call("GET", fmt.Sprintf("%s/%d", path, one.Number), nil, &one, nil); err != nil {
			return false, err
		}
	}
	if one.Status == "abandoned" {
		fmt.Printf("round %d was abandoned: %s\n", one.Number, one.FailureReason)
		return false, nil
	}
	accuracy := "not measured"
	if one.AverageAccuracy != nil {
		accuracy = fmt.Sprintf("%.3f", *one.AverageAccuracy)
	}
	fmt.Printf("round %d: %d clients, accuracy %s\n", one.Number, len(one.SelectedClients), accuracy)
	return true, nil
}

func newKey() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return hex.EncodeToString(random)
}
