package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// addressFolder tells the addresses of pods before the API server knows them:
// the CNI library writes down what it did for a pod before any of its
// containers starts. So policies hold from a pod's first packet on.
type addressFolder struct {
	path  string
	read  time.Time // the folder's time when it was read
	known map[types.UID]netip.Addr
}

// refresh reads the folder if it may have changed, and says whether it did. A
// file that is just being written is read again.
func (f *addressFolder) refresh(now time.Time) (changed bool) {
	info, err := os.Stat(f.path)
	if err != nil || info.ModTime().Equal(f.read) && now.Sub(f.read) > 200*time.Millisecond {
		return false
	}
	f.read = info.ModTime()
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return false
	}
	known, newest := map[types.UID]netip.Addr{}, map[types.UID]time.Time{}
	for _, entry := range entries {
		uid, address, ok := readSandbox(filepath.Join(f.path, entry.Name()))
		info, err := entry.Info()
		if !ok || err != nil || info.ModTime().Before(newest[uid]) {
			continue
		}
		known[uid], newest[uid] = address, info.ModTime()
	}
	changed = len(known) != len(f.known)
	for uid, address := range known {
		changed = changed || f.known[uid] != address
	}
	f.known = known
	return changed
}

// readSandbox reads which pod a network was made for, and its address.
func readSandbox(path string) (types.UID, netip.Addr, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", netip.Addr{}, false
	}
	var sandbox struct {
		Arguments [][2]string `json:"cniArgs"`
		Result    struct {
			Addresses []struct {
				Address netip.Prefix `json:"address"`
			} `json:"ips"`
		} `json:"result"`
	}
	if err := json.Unmarshal(text, &sandbox); err != nil || len(sandbox.Result.Addresses) == 0 {
		return "", netip.Addr{}, false
	}
	for _, argument := range sandbox.Arguments {
		if argument[0] == "K8S_POD_UID" {
			return types.UID(argument[1]), sandbox.Result.Addresses[0].Address.Addr(), true
		}
	}
	return "", netip.Addr{}, false
}
