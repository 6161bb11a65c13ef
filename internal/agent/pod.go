package agent

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/proc"
)

// Variables that complete a configuration.
const (
	VariableKey      = "MM_AGENT_KEY"         // Config.Key
	VariableToken    = "MM_JOB_TOKEN"         // Task.Token
	VariableIndex    = "JOB_COMPLETION_INDEX" // which of the agents that share a configuration this is
	VariableFailures = "MM_TASK_FAILURES"     // attempts at its task that have failed
)

// Where an image has what Model Manager put there (docs/kubernetes.md).
const (
	modelFolder       = "/model"
	environmentFolder = "/environment"
)

// complete takes from variables what the file leaves open.
func (c *Config) complete(getenv func(string) string) error {
	if c.Task == nil {
		if c.Key == "" {
			c.Key = getenv(VariableKey)
		}
		return nil
	}
	if c.Task.Token == "" {
		c.Task.Token = getenv(VariableToken)
	}
	if c.Task.Attempt > 0 {
		return nil
	}
	c.Task.Attempt = 1
	if text := getenv(VariableFailures); text != "" {
		failures, err := strconv.Atoi(text)
		if err != nil || failures < 0 {
			return fmt.Errorf("the variable %s is %q, which is no number of failures", VariableFailures, text)
		}
		c.Task.Attempt += failures
	}
	index, err := strconv.Atoi(getenv(VariableIndex))
	if err != nil {
		return fmt.Errorf("the variable %s is %q, which is no index of a task", VariableIndex, getenv(VariableIndex))
	}
	if c.Task.Index = index; c.Task.Only == "" {
		return nil
	}
	only, err := ParseIndexes(c.Task.Only)
	if err != nil {
		return err
	}
	if index < 0 || index >= len(only) {
		return fmt.Errorf("the variable %s is %d, and the step has %d tasks", VariableIndex, index, len(only))
	}
	c.Task.Index = only[index]
	return nil
}

// Contain makes this process the agent of a container that it shares with the
// model's image: nothing of the agent is open to the worker, which runs as the
// same user, and the worker gets what its image says. It is called before
// anything is started.
//
// Where the configuration names no folder, the model's is the image's working
// directory, or /model for an image without one. The worker's environment has
// the image's own variables and, if there is a folder /environment, that on its
// PYTHONPATH.
func (c *Config) Contain() error {
	if err := proc.Seal(); err != nil {
		return err
	}
	for _, name := range []string{VariableKey, VariableToken} {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("forgetting the variable %s: %w", name, err)
		}
	}
	if c.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return modelmanager.Errorf(modelmanager.CodeInternal, "finding the model's folder in its image: %w", err)
		}
		if dir == "/" && isFolder(modelFolder) {
			dir = modelFolder
		}
		c.Dir = dir
	}
	inherited := ofImage(os.Environ())
	if isFolder(environmentFolder) {
		path := environmentFolder
		if own := os.Getenv("PYTHONPATH"); own != "" {
			path += ":" + own
		}
		inherited = append(inherited, "PYTHONPATH="+path)
	}
	c.Environment.Env = slices.Concat(inherited, c.Environment.Env)
	c.Output = os.Stdout
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// ofImage returns the variables of a container that its image has set, or might
// have: not ours, not Kubernetes' own, not those that are of one process.
func ofImage(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "PATH", "HOME", "TMPDIR", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "TERM", "_", "GOMEMLIMIT", "GODEBUG", VariableIndex:
			return true
		}
		return strings.HasPrefix(name, "MM_") || strings.HasPrefix(name, "KUBERNETES_")
	})
}
