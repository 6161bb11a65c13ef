package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"modelmanager.dev/test/module"
)

// pages are the paths that axe has looked at.
var pages seenPaths

type seenPaths struct {
	mu    sync.Mutex
	paths []string
}

func (s *seenPaths) note(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, path)
}

// noPages are what package web mounts that nobody looks at.
var noPages = map[string]string{
	"GET /assets/{hash}/{name}": "a file",
	"GET /favicon.ico":          "a picture",
	"GET /models":               "leads to /",
	"GET /":                     "what is no page",
	"GET /sign-in/provider":     "leads to the provider",
	"GET /models/{model}/batch/template/{name}": "a download",
	"GET /jobs/{job}/live":                      "a stream",
	"GET /jobs/{job}/output":                    "a download",
	"GET /jobs/{job}/rejected":                  "a download",
	"GET /jobs/{job}/logs.txt":                  "a download",
}

var mounted = regexp.MustCompile(`\bw\.(?:get|mux\.Handle)\("(?:GET )?(/[^"]*)"`)

// everyPageSeen fails where package web has a page that no test has looked at.
// It is for the end of all tests.
func everyPageSeen() (code int) {
	folder, err := module.Path("internal", "web")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.go"))
	mux, left := http.NewServeMux(), map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, found := range mounted.FindAllStringSubmatch(string(source), -1) {
			pattern := "GET " + found[1]
			mux.Handle(pattern, http.NotFoundHandler())
			left[pattern] = true
		}
	}
	if len(left) < 20 {
		fmt.Fprintf(os.Stderr, "only %d pages were found in %s: this check looks for w.get(\"…\")\n", len(left), folder)
		return 1
	}
	for pattern, what := range noPages {
		if !left[pattern] {
			fmt.Fprintf(os.Stderr, "%s (%s) isn't mounted any more: take it out of noPages\n", pattern, what)
			code = 1
		}
		delete(left, pattern)
	}
	for _, path := range pages.paths {
		_, pattern := mux.Handler(httptest.NewRequest(http.MethodGet, path, nil))
		delete(left, pattern)
	}
	for pattern := range left {
		fmt.Fprintf(os.Stderr, "no test has looked at the page %s with axe\n", pattern)
		code = 1
	}
	return code
}
