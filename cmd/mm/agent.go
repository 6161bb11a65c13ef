package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/proc"
)

// exitCode ends the program with a code of its own.
type exitCode int

// Error implements error.
func (exitCode) Error() string { return "the agent has said why" }

// newAgent is mm-agent inside mm, for a machine that has only this program.
func newAgent() *cobra.Command {
	return &cobra.Command{
		Use:    "agent CONFIG",
		Short:  "Run an agent, as the local platform does",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := proc.Seal(); err != nil { // its secrets are one model's alone
				return err
			}
			config, err := agent.ReadConfig(args[0])
			if err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(command.ErrOrStderr(), nil))
			code, err := agent.Run(command.Context(), config, shard.Run, logger)
			if err != nil && command.Context().Err() == nil { // not because it was told to
				logger.Error("the agent ends", "error", err)
			}
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}
