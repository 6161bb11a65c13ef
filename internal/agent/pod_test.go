package agent

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIndexes(t *testing.T) {
	for text, list := range map[string][]int{
		"": nil, "0": {0}, "0-3": {0, 1, 2, 3}, "1,4": {1, 4}, "0,2-3,9-11": {0, 2, 3, 9, 10, 11},
	} {
		if got := Indexes(list); got != text {
			t.Errorf("%v is %q, want %q", list, got, text)
		}
		if got, err := ParseIndexes(text); err != nil || !slices.Equal(got, list) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, list)
		}
	}
	for _, text := range []string{"x", "3-1", "1,1", "2,1", "1,", "-1", "0-9999999999", "0-2000000", "1-", ","} {
		if got, err := ParseIndexes(text); err == nil {
			t.Errorf("%q was read as %d indexes", text, len(got))
		}
	}
	for range 100 {
		var list []int
		for index := range 50 {
			if rand.IntN(2) == 0 {
				list = append(list, index)
			}
		}
		if got, err := ParseIndexes(Indexes(list)); err != nil || !slices.Equal(got, list) {
			t.Fatalf("%v came back as %v, %v", list, got, err)
		}
	}
}

func TestAConfigurationIsCompletedByVariables(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		with   map[string]string
		want   Config
		fails  bool
	}{
		"key":            {Config{}, map[string]string{VariableKey: "k"}, Config{Key: "k"}, false},
		"key in file":    {Config{Key: "f"}, map[string]string{VariableKey: "k"}, Config{Key: "f"}, false},
		"task in file":   {Config{Task: &Task{Token: "t", Index: 4, Attempt: 2}}, map[string]string{VariableIndex: "9"}, Config{Task: &Task{Token: "t", Index: 4, Attempt: 2}}, false},
		"task":           {Config{Task: &Task{}}, map[string]string{VariableToken: "t", VariableIndex: "3"}, Config{Task: &Task{Token: "t", Index: 3, Attempt: 1}}, false},
		"second attempt": {Config{Task: &Task{}}, map[string]string{VariableIndex: "0", VariableFailures: "1"}, Config{Task: &Task{Attempt: 2}}, false},
		"some":           {Config{Task: &Task{Only: "2,7-8"}}, map[string]string{VariableIndex: "2"}, Config{Task: &Task{Only: "2,7-8", Index: 8, Attempt: 1}}, false},
		"beyond":         {Config{Task: &Task{Only: "2"}}, map[string]string{VariableIndex: "1"}, Config{}, true},
		"no index":       {Config{Task: &Task{}}, nil, Config{}, true},
		"bad failures":   {Config{Task: &Task{}}, map[string]string{VariableIndex: "0", VariableFailures: "-1"}, Config{}, true},
	} {
		err := c.config.complete(func(name string) string { return c.with[name] })
		if c.fails != (err != nil) {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, c.config); err == nil && diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWhatAnImageSetsReachesItsWorker(t *testing.T) {
	got := ofImage([]string{
		"PATH=/bin", "HOME=/tmp", "JAVA_HOME=/opt/java", "MM_AGENT_KEY=secret", "MM_X=1", "KUBERNETES_SERVICE_HOST=10.0.0.1",
		"HOSTNAME=pod", "GOMEMLIMIT=1", "LANG=de_DE.UTF-8", "JOB_COMPLETION_INDEX=3",
	})
	if want := []string{"JAVA_HOME=/opt/java", "LANG=de_DE.UTF-8"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
