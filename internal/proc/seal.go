package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seal closes this process to others of the same user: /proc/PID/environ and the
// memory belong to root from now on. What runs models' code calls it before any
// of that code starts. A program that is started becomes open again, so that it
// can be watched. Root of the machine is not kept out.
func Seal() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("closing the memory to models: %w", err)
	}
	return nil
}

// Sealed tells whether a process is closed to this one.
func Sealed(pid int) bool {
	_, err := read(pid, "environ")
	return errors.Is(err, os.ErrPermission)
}
