package web

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// How somebody matched the columns of a file, and said what its cells mean, is
// remembered in their own browser, in a sealed cookie that only the pages of this
// model's files get: the next file with the same headers, in whatever order, is
// matched and read alike. Nothing has to be kept, or cleaned up, on the server.
const (
	columnsCookie  = "mm_columns"
	columnsLast    = 180 * 24 * 60 * 60 // seconds
	columnsMost    = 8                  // sets of headers
	columnsBytes   = 3000               // of the cookie: proxies take no more than some KB of all
	headersDivider = "\x00"
)

// remembered is how the columns under some headers were matched and read.
type remembered struct {
	Headers string            `json:"h"`           // a hash of them
	Columns map[string]int    `json:"c"`           // feature → header, by its place among the sorted ones; −1: none
	Cells   map[string]string `json:"d,omitempty"` // of ofCells, what was said
}

// lastTime is what somebody said of a file with these headers.
type lastTime struct {
	columns map[string]string // feature → header, "" none: what was matched by hand
	cells   map[string]string // of ofCells
}

// sortedHeaders are headers whatever their order in a file.
func sortedHeaders(headers []string) []string { return slices.Sorted(slices.Values(headers)) }

func hashOf(sorted []string) string {
	sum := sha256.Sum256([]byte(strings.Join(sorted, headersDivider)))
	return hex.EncodeToString(sum[:6])
}

// maxMemory bounds what a cookie can unfold to.
const maxMemory = 1 << 20

func (v *visit) memory() []remembered {
	cookie, err := v.r.Cookie(columnsCookie)
	if err != nil {
		return nil
	}
	packed, ok := v.web.unsealBytes(columnsCookie+v.r.PathValue("model"), cookie.Value)
	if !ok {
		return nil
	}
	var all []remembered
	if json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxMemory)).Decode(&all) != nil {
		return nil // of an older release
	}
	return all
}

// recall returns what was said of these headers before.
func (v *visit) recall(headers []string) lastTime {
	headers = sortedHeaders(headers)
	hash := hashOf(headers)
	for _, one := range v.memory() {
		if one.Headers != hash {
			continue
		}
		columns := map[string]string{}
		for feature, column := range one.Columns {
			switch {
			case column < 0:
				columns[feature] = ""
			case column < len(headers):
				columns[feature] = headers[column]
			}
		}
		return lastTime{columns, one.Cells}
	}
	return lastTime{}
}

// remember keeps what was said of headers, the latest first; nothing forgets it.
// It makes room by forgetting the oldest, and fails if there are too many
// columns even so.
func (v *visit) remember(headers []string, said lastTime) bool {
	headers = sortedHeaders(headers)
	hash := hashOf(headers)
	all := slices.DeleteFunc(v.memory(), func(one remembered) bool { return one.Headers == hash })
	nothing := len(said.columns)+len(said.cells) == 0
	if !nothing {
		latest := remembered{Headers: hash, Columns: map[string]int{}, Cells: said.cells}
		for feature, header := range said.columns {
			latest.Columns[feature] = slices.Index(headers, header)
		}
		all = append([]remembered{latest}, all...)
	}
	for all = all[:min(len(all), columnsMost)]; ; all = all[:len(all)-1] {
		text, err := v.web.sealedBytes(columnsCookie+v.r.PathValue("model"), packed(all))
		if err != nil {
			return false
		}
		if len(text) > columnsBytes && len(all) > 0 {
			continue
		}
		http.SetCookie(v.w, &http.Cookie{
			Name: columnsCookie, Value: text, Path: batchPath(v.r.PathValue("model")), MaxAge: columnsLast,
			HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.https(),
		})
		return nothing || len(all) > 0
	}
}

// packed is what a cookie keeps, in few bytes: names of columns are much alike.
func packed(all []remembered) []byte {
	data, err := json.Marshal(all)
	if err != nil { // of strings and numbers
		panic(err)
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil { // of a level that is constant
		panic(err)
	}
	_, _ = w.Write(data) // into memory
	_ = w.Close()
	return b.Bytes()
}
