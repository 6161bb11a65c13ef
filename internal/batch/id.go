package batch

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"regexp"
	"time"

	"modelmanager.dev"
)

var (
	idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	idPattern  = regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{26}$`)
)

// newID makes an id: 48 bits of time counted backwards, so that ids sort newest
// first, and 80 random ones. It is a DNS label.
func newID(now time.Time) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], ^uint64(now.UnixMilli())<<16)
	if _, err := rand.Read(id[6:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	return idEncoding.EncodeToString(id[:])
}

// checkID keeps anything that isn't an id out of object keys.
func checkID(id string) error {
	if !idPattern.MatchString(id) {
		return noJob(id)
	}
	return nil
}

func noJob(id string) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no job %q", id)
}
