// Selector asks TCS-FEEL over gRPC whom a round should call, and reports how the calls ended.
//
// It prints one JSON object: the figures of the topology, the selected clients, and each client's breaker afterwards.
//
//	TCSFEEL_KEY=… selector -address 127.0.0.1:50051 -seed 7 -min 2 -max 3
//	TCSFEEL_KEY=… selector -address fl.example.org:50051 -ca ca.pem
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"tcsfeel/tcsfeelv1"
)

type chosen struct {
	ClientID string  `json:"client_id"`
	Score    float64 `json:"score"`
	Breaker  string  `json:"breaker"`
}

type outcome struct {
	Clients   uint32   `json:"clients"`
	TotalCost float64  `json:"total_cost"`
	Selected  []chosen `json:"selected"`
}

// codec reads and writes messages with the present protobuf library. Debian's grpc has a codec of an older one, which
// panics at messages of today's protoc-gen-go. Newer versions of grpc do not need it.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

func main() {
	address := flag.String("address", "127.0.0.1:50051", "where the server speaks gRPC")
	ca := flag.String("ca", "", "certificate of the authority, to call over TLS")
	seed := flag.Uint64("seed", 0, "seed of the selection")
	least := flag.Uint("min", 1, "least number of clients")
	most := flag.Uint("max", 3, "largest number of clients")
	flag.Parse()
	found, err := run(*address, *ca, *seed, uint32(*least), uint32(*most))
	if err != nil {
		fmt.Fprintln(os.Stderr, "selector:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(found)
}

func run(address, ca string, seed uint64, least, most uint32) (*outcome, error) {
	security := grpc.WithInsecure() // newer versions of the library: grpc.WithTransportCredentials(insecure.NewCredentials())
	if ca != "" {
		trusted, err := credentials.NewClientTLSFromFile(ca, "")
		if err != nil {
			return nil, err
		}
		security = grpc.WithTransportCredentials(trusted)
	}
	connection, err := grpc.Dial(address, security, grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	service := tcsfeelv1.NewTopologyServiceClient(connection)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("TCSFEEL_KEY"))

	stats, err := service.GetTopologyStats(ctx, &tcsfeelv1.GetTopologyStatsRequest{})
	if err != nil {
		return nil, err
	}
	plan, err := service.OptimizeTopology(ctx, &tcsfeelv1.OptimizeTopologyRequest{
		MinClients: &least,
		MaxClients: &most,
		Seed:       &seed,
	})
	if err != nil {
		return nil, err
	}
	found := &outcome{Clients: stats.NumClients, TotalCost: plan.TotalCost}
	for _, client := range plan.Selected {
		// Here a coordinator calls the client, and measures how long that takes.
		known, err := service.UpdateClientPerformance(ctx, &tcsfeelv1.UpdateClientPerformanceRequest{
			ClientId:      client.ClientId,
			Seconds:       proto.Float64(2.5),
			UpdateQuality: proto.Float64(0.75),
		})
		if err != nil {
			return nil, err
		}
		found.Selected = append(found.Selected, chosen{client.ClientId, client.Score, known.Breaker.State})
	}
	return found, nil
}
