// Command mm-agent is the agent alone: the program that is put into the pods
// of models, beside a worker of the model's own image. It is the image of the
// agent, too: with `copy` it copies itself to where such a pod can start it.
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
	switch {
	case len(args) == 2 && args[0] == "copy":
		if err := copySelf(args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "mm-agent:", err)
			return 1
		}
		return 0
	case len(args) != 1:
		fmt.Fprintln(os.Stderr, "usage: mm-agent CONFIG.json | mm-agent copy FILE")
		return 2
	}
	config, err := agent.ReadConfig(args[0])
	if err == nil {
		err = config.Contain()
	}
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
