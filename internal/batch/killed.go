package batch

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// maxKilled bounds the logs that wait to be kept, and are in memory until then.
const maxKilled = 200

// wasKilled notes what is left of an attempt that was killed before it could
// send its log.
func (t *tracker) wasKilled(event platform.JobEvent) {
	t.mu.Lock()
	if len(t.killed) < maxKilled {
		t.killed = append(t.killed, event)
	}
	t.mu.Unlock()
	t.notify()
}

// keepLogs puts the logs of attempts that were killed beside those that
// attempts have sent. Losing one is no reason to lose the job.
func (d *drive) keepLogs(ctx context.Context) {
	d.t.mu.Lock()
	killed := d.t.killed
	d.t.killed = nil
	d.t.mu.Unlock()
	for _, event := range killed {
		text := killedLog(event)
		err := d.config.Bucket.Create(ctx, logsKey(d.id, event.Index, killedName(event.Step, text)), []byte(text))
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
			d.log.Warn("the log of an attempt that was killed isn't kept", "job", d.id, "index", event.Index, "error", err)
		}
	}
}

// killedLog is a log that says where it ends, and why.
func killedLog(event platform.JobEvent) string {
	what := fmt.Sprintf("shard %d", event.Index)
	if event.Step == platform.StepPlan {
		what = "the plan"
	}
	text := event.Log
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	end := "the log ends here"
	if text == "" {
		end = "no log is left"
	}
	return fmt.Sprintf("%s[%s: attempt %d at %s was killed: %s]\n", text, end, event.Attempt, what, event.Reason)
}

// killedName stands for the name of an attempt that was killed, which the
// platform doesn't know: the same log has the same, since a platform may tell
// of it more than once.
func killedName(step platform.Step, text string) string {
	sum := sha256.Sum256([]byte(string(step) + "\n" + text))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:len(newAttempt())]
}
