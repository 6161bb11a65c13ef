package platform_test

import (
	"strings"
	"testing"

	"modelmanager.dev/internal/platform"
)

func TestLastOfLog(t *testing.T) {
	const note = "[only the last 64 KiB are kept]\n"
	line := strings.Repeat("x", 1023) + "\n"
	for name, c := range map[string]struct{ log, want string }{
		"nothing":     {"", ""},
		"all":         {"a\nb", "a\nb"},
		"just":        {strings.Repeat(line, 64), strings.Repeat(line, 64)},
		"whole lines": {"first\n" + strings.Repeat(line, 64), note + strings.Repeat(line, 64)},
		"cut lines":   {strings.Repeat(line, 64) + "last\n", note + strings.Repeat(line, 63) + "last\n"},
		"one line":    {strings.Repeat("x", 100<<10), note + strings.Repeat("x", 64<<10)},
		"no text":     {"a\xff\n", "a?\n"},
	} {
		if got := platform.LastOfLog([]byte(c.log)); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(c.want))
		}
	}
}
