package browser_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// switched is a file without which a version can't go on.
type switched string

func newSwitch(t *testing.T) switched {
	t.Helper()
	s := switched(filepath.Join(t.TempDir(), "switch"))
	s.on(t)
	return s
}

func (s switched) on(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(string(s), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s switched) off(t *testing.T) {
	t.Helper()
	if err := os.Remove(string(s)); err != nil {
		t.Fatal(err)
	}
}

// holds publishes a version of donor-reply that answers while the switch is on,
// as it is.
func (a *analyst) holds(models string, version int) switched {
	a.t.Helper()
	s, script := newSwitch(a.t), filepath.Join(models, "donor-reply", "predict.py")
	source, err := os.ReadFile(script)
	if err != nil {
		a.t.Fatal(err)
	}
	text := strings.Replace(string(source), "    return [score(row) for row in rows]", "    return held(rows)", 1) +
		fmt.Sprintf("\n\nimport os, time\n\n\ndef held(rows):\n    while not os.path.exists(%q):\n        time.sleep(0.05)\n    return [score(row) for row in rows]\n", string(s))
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	a.eventually(fmt.Sprintf("version %d", version), func(ctx context.Context) (bool, error) {
		info, err := a.api.Model(ctx, "donor-reply")
		return err == nil && info.Latest == version, err
	})
	return s
}
