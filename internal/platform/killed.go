package platform

import (
	"bytes"
	"fmt"
)

// keptOfLog is how much is kept of the log of an attempt that was killed.
const keptOfLog = 64 << 10

// LastOfLog returns the last whole lines of a log, and says so where they are
// not all.
func LastOfLog(log []byte) string {
	note := ""
	if cut := len(log) - keptOfLog; cut > 0 {
		note = fmt.Sprintf("[only the last %d KiB are kept]\n", keptOfLog>>10)
		// A line that is longer than all that is kept is shortened.
		if _, whole, found := bytes.Cut(log[cut-1:], []byte("\n")); found && len(whole) > 0 {
			log = whole
		} else {
			log = log[cut:]
		}
	}
	return note + string(bytes.ToValidUTF8(log, []byte("?")))
}
