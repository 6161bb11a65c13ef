package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"modelmanager.dev"
)

func newModels(g *global) *cobra.Command {
	command := &cobra.Command{
		Use:     "models",
		Aliases: []string{"model"},
		Short:   "Find models; see their versions; shift traffic",
	}
	command.AddCommand(
		newModelsList(g), newModelsShow(g), newModelsVersions(g), newModelsDiff(g),
		newModelsPromote(g), newModelsRollback(g), newModelsTraffic(g), newModelsRetire(g),
	)
	group(command)
	return command
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func parseVersion(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(text, "v"))
	if err != nil || n < 1 {
		return 0, usageError{modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is not a version; versions are 1, 2, 3 …", text)}
	}
	return n, nil
}

// parseLabels reads name=value pairs.
func parseLabels(pairs []string) (map[string]string, error) {
	return parsePairs("--label", "name=value", pairs)
}

func parsePairs(flag, form string, pairs []string) (map[string]string, error) {
	values := map[string]string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" {
			return nil, usageError{fmt.Errorf("%s %s is not %s", flag, pair, form)}
		}
		values[name] = value
	}
	return values, nil
}
