"""The REST API: each operation parses, makes one service call, and answers with a schema."""
