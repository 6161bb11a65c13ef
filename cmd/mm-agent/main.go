// Command mm-agent is the agent alone: the program that is put into the pods
// of models. `mm agent FILE` is the same.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a machine without time zones must read naive times alike

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: mm-agent CONFIG.json")
		return 2
	}
	config, err := agent.ReadConfig(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mm-agent:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	code, err := agent.Run(ctx, config, shard.Run, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "mm-agent:", err)
	}
	return code
}
