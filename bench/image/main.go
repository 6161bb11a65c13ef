// Command image measures how long a change of code takes to be an image in a
// registry: put together by Model Manager, and built by BuildKit with all that
// hasn't changed in its cache. Both put the same folder on the same base and push
// to the same registry, in turns. It needs root and runc, for BuildKit.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/test/buildkit"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "image benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	repeat := flag.Int("repeat", 31, "how often each is measured; the median counts")
	flag.Parse()
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	registry, err := startRegistry(ctx, dir)
	if err != nil {
		return err
	}
	defer registry.close()
	daemon, err := buildkit.Run(ctx, buildkit.Options{Plain: []string{registry.host}})
	if err != nil {
		return err
	}
	defer daemon.Close()
	base := registry.host + "/base/python:1"
	if err := pushBase(ctx, base, 100<<20); err != nil {
		return err
	}
	var rows []report.Row
	for _, weights := range []int{1 << 20, 50 << 20} {
		folder := filepath.Join(dir, fmt.Sprint("model-", weights))
		if err := writeModel(folder, base, weights); err != nil {
			return err
		}
		row, err := compare(ctx, &ours{host: registry.host, base: base, dir: folder, cache: filepath.Join(dir, "cache")},
			&peer{address: daemon.Address, repository: registry.host + "/peer/model", dir: folder}, *repeat)
		if err != nil {
			return err
		}
		row.What = fmt.Sprintf("a change of code to an image in the registry: 20 files of code, %s of weights, base of 100 MB", report.Bytes(float64(weights)/1.048576))
		rows = append(rows, row)
	}
	return report.Markdown(os.Stdout, rows...)
}

// contestant makes an image of the folder as it is now, and pushes it.
type contestant interface {
	image(ctx context.Context) (reference string, err error)
}

// compare measures both in turns, each after a change of the code.
func compare(ctx context.Context, ours, theirs contestant, repeat int) (report.Row, error) {
	var times [2][]time.Duration
	for i := range repeat + 1 {
		for who, c := range []contestant{ours, theirs} {
			if err := changeCode(c, i); err != nil {
				return report.Row{}, err
			}
			begin := time.Now()
			if _, err := c.image(ctx); err != nil {
				return report.Row{}, err
			}
			if i > 0 { // the first fills caches
				times[who] = append(times[who], time.Since(begin))
			}
		}
	}
	for who := range times {
		slices.Sort(times[who])
	}
	median := func(t []time.Duration) time.Duration { return t[len(t)/2] }
	show := func(t []time.Duration) string {
		return fmt.Sprintf("%s (%s to %s)", report.Duration(median(t)), report.Duration(t[0]), report.Duration(t[len(t)-1]))
	}
	return report.Row{
		Peer: "BuildKit, warm cache", Ours: show(times[0]), Theirs: show(times[1]),
		Ratio: float64(median(times[1])) / float64(median(times[0])), Reach: "3×",
	}, nil
}

// folderOf is the folder that a contestant makes an image of.
func folderOf(c contestant) string {
	if o, ok := c.(*ours); ok {
		return o.dir
	}
	return c.(*peer).dir
}

func changeCode(c contestant, round int) error {
	return os.WriteFile(filepath.Join(folderOf(c), "code", "predict.py"), fmt.Appendf(nil, "# %d %p\ndef predict(rows): ...\n", round, c), 0o644)
}

// writeModel writes a model's folder, with the Dockerfile that its author might
// write for it: what changes seldom first.
func writeModel(dir, base string, weights int) error {
	files := map[string][]byte{
		"weights.bin": noise(weights), "requirements.txt": []byte("numpy==2.2.1\n"),
		"Dockerfile": fmt.Appendf(nil, "FROM %s\nCOPY weights.bin requirements.txt /model/\nCOPY code/ /model/code/\nWORKDIR /model\n", base),
	}
	for i := range 20 {
		files[filepath.Join("code", fmt.Sprintf("part%d.py", i))] = noise(4 << 10)
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// noise is what compresses as little as weights do, the same in each run.
func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}
