// Command web measures every page over a registry of 150,000 models, of which
// 2,000 versions run and a thousand jobs are known: how long the server takes
// for it, and how many bytes its first view is, compressed, with all that the
// browser loads beside it. Each request goes in turns with one to a process that
// computes as long and does nothing else, so that a tail of the machine's can be
// told from ours.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"time"

	"modelmanager.dev/bench/report"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "web benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	models := flag.Int("models", 150_000, "how many models")
	repeat := flag.Int("repeat", 100, "how often each page is asked; the median counts")
	only := flag.String("only", "", "measure only the pages whose names match this regular expression")
	alone := flag.Bool("constant", false, "compute what is asked, and nothing else (for itself)")
	flag.Parse()
	if *alone {
		return serveConstant(os.Stdout)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	w, err := newWorld(ctx, *models)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.live(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peer, err := startConstant(ctx)
	if err != nil {
		return err
	}
	var rows []report.Row
	for _, page := range w.pages() {
		if !wanted.MatchString(page.what) {
			continue
		}
		row, err := w.measure(ctx, page, peer, *repeat)
		if err != nil {
			return fmt.Errorf("%s: %w", page.what, err)
		}
		rows = append(rows, row)
	}
	return report.Markdown(os.Stdout, rows...)
}

// views is of how many addresses of a page the first view is weighed.
const views = 5

// measure asks a page again and again, in turns with its peer, and weighs it.
func (w *world) measure(ctx context.Context, page page, peer *constant, repeat int) (report.Row, error) {
	address := func(i int) string { return w.address + page.path(i) }
	status := cmp.Or(page.status, http.StatusOK)
	first, err := times(ctx, address, 10, status)
	if err != nil {
		return report.Row{}, err
	}
	as := peer.as(median(first))
	var ours, theirs []time.Duration
	for i := range repeat {
		took, err := times(ctx, func(int) string { return address(i) }, 1, status)
		if err != nil {
			return report.Row{}, err
		}
		ours = append(ours, took...)
		if took, err = times(ctx, as, 1, http.StatusOK); err != nil {
			return report.Row{}, err
		}
		theirs = append(theirs, took...)
	}
	largest := 0
	for i := range views {
		size, err := w.firstView(ctx, page.path(i), status)
		if err != nil {
			return report.Row{}, err
		}
		largest = max(largest, size)
	}
	return report.Row{
		What: fmt.Sprintf("page over %d models: %s", w.models, page.what), Ours: spread(ours) + "; " + report.Bytes(float64(largest)),
		Peer: "as much computing", Theirs: spread(theirs), Reach: "100 ms; 100 KB",
	}, nil
}

// times asks so often, one after the other.
func times(ctx context.Context, address func(int) string, repeat, status int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range repeat {
		began := time.Now()
		if _, err := fetch(ctx, address(i), "zstd, gzip", status); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func median(took []time.Duration) time.Duration {
	took = slices.Sorted(slices.Values(took))
	return took[len(took)/2]
}

// spread is the median, and what 99 of 100 stay within.
func spread(took []time.Duration) string {
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%s (99 of 100: %s)", report.Duration(median(took)), report.Duration(took[(len(took)*99+99)/100-1]))
}

// asset is what a page makes the browser load.
var asset = regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`)

// firstView is how many bytes come for somebody who has seen no page yet, for
// the browser to which the most do: not every one takes zstd.
func (w *world) firstView(ctx context.Context, path string, status int) (int, error) {
	plain, err := fetch(ctx, w.address+path, "identity", status)
	if err != nil {
		return 0, err
	}
	largest := 0
	for _, encoding := range []string{"zstd, gzip", "gzip"} {
		page, err := fetch(ctx, w.address+path, encoding, status)
		if err != nil {
			return 0, err
		}
		sum := len(page)
		for _, match := range asset.FindAllSubmatch(plain, -1) {
			data, err := fetch(ctx, w.address+string(match[1]), encoding, http.StatusOK)
			if err != nil {
				return 0, err
			}
			sum += len(data)
		}
		largest = max(largest, sum)
	}
	return largest, nil
}

// fetch returns a body as it came.
func fetch(ctx context.Context, address, encoding string, status int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/html")
	request.Header.Set("Accept-Encoding", encoding)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != status {
		err = fmt.Errorf("%s: %s", address, response.Status)
	}
	return body, err
}
