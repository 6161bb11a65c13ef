// Command web measures the pages over a registry of 150,000 models: how long
// the server takes for each, and how many bytes its first view is, compressed,
// with all that the browser loads beside it. Each request goes in turns with one
// to a process that computes as long and does nothing else, so that a tail of
// the machine's can be told from ours.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	leaderlocal "modelmanager.dev/internal/leader/local"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	driver "modelmanager.dev/internal/platform/memory"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "web benchmark:", err)
		os.Exit(1)
	}
}

// page is what is measured, by its path. Each is asked with another word or
// model every time, where it can be.
type page struct {
	what string
	path func(i int) string
}

// pages are those over so many models.
func pages(models int) []page {
	one := func(i int) string { return "/models/" + name(i*1499%models) }
	return []page{
		{"catalogue", func(int) string { return "/" }},
		{"catalogue, a customer's", func(i int) string { return "/?q=" + customer(i*977) }},
		{"catalogue, part of a word", func(i int) string { return "/?q=admissi" }},
		{"catalogue, a rare pair", func(i int) string { return fmt.Sprintf("/?q=cohort+%d+%s", i, customer(i)) }},
		{"catalogue, nothing", func(i int) string { return fmt.Sprintf("/?q=xylophone%d", i) }},
		{"catalogue, an owner", func(i int) string { return fmt.Sprintf("/?owner=team-%d%%40example.org", i%40) }},
		{"catalogue, a label and a word", func(i int) string { return "/?label=customer%3D" + customer(i) + "&q=risk" }},
		{"model", one},
		{"try it", func(i int) string { return one(i) + "/try?example=1" }},
		{"versions", func(i int) string { return one(i) + "/versions" }},
		{"traffic", func(i int) string { return one(i) + "/traffic" }},
	}
}

func run(ctx context.Context) error {
	models := flag.Int("models", 150_000, "how many models")
	repeat := flag.Int("repeat", 200, "how often each page is asked; the median counts")
	alone := flag.Bool("constant", false, "compute what is asked, and nothing else (for itself)")
	flag.Parse()
	if *alone {
		return serveConstant(os.Stdout)
	}
	ctx, cancel := context.WithCancel(ctx)
	address, ended, err := serve(ctx, *models)
	if err != nil {
		cancel()
		return err
	}
	defer func() {
		cancel()
		<-ended
	}()
	peer, err := startConstant(ctx)
	if err != nil {
		return err
	}
	var rows []report.Row
	for _, page := range pages(*models) {
		row, err := measure(ctx, func(i int) string { return "http://" + address + page.path(i) }, peer, *repeat)
		if err != nil {
			return fmt.Errorf("%s: %w", page.what, err)
		}
		row.What = fmt.Sprintf("page over %d models: %s", *models, page.what)
		rows = append(rows, row)
	}
	size, err := firstView(ctx, "http://"+address)
	if err != nil {
		return err
	}
	rows = append(rows, report.Row{What: "page: first view of the catalogue, compressed, with styles and scripts", Ours: report.Bytes(float64(size)), Reach: "≤ 100 KB"})
	return report.Markdown(os.Stdout, rows...)
}

// measure asks a page again and again, in turns with its peer.
func measure(ctx context.Context, address func(int) string, peer *constant, repeat int) (report.Row, error) {
	first, err := times(ctx, address, 10)
	if err != nil {
		return report.Row{}, err
	}
	as := peer.as(median(first))
	var ours, theirs []time.Duration
	for i := range repeat {
		took, err := times(ctx, func(int) string { return address(i) }, 1)
		if err != nil {
			return report.Row{}, err
		}
		ours = append(ours, took...)
		if took, err = times(ctx, as, 1); err != nil {
			return report.Row{}, err
		}
		theirs = append(theirs, took...)
	}
	return report.Row{Ours: spread(ours), Peer: "as much computing", Theirs: spread(theirs), Reach: "100 ms"}, nil
}

// times asks so often, one after the other.
func times(ctx context.Context, address func(int) string, repeat int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range repeat {
		began := time.Now()
		if _, err := get(ctx, address(i)); err != nil {
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

func spread(took []time.Duration) string {
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%s (99 of 100: %s)", report.Duration(median(took)), report.Duration(took[len(took)*99/100]))
}

// asset is what a page makes the browser load.
var asset = regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`)

func firstView(ctx context.Context, server string) (int, error) {
	plain, err := fetch(ctx, server+"/", "identity")
	if err != nil {
		return 0, err
	}
	page, err := get(ctx, server+"/")
	if err != nil {
		return 0, err
	}
	sum := len(page)
	for _, match := range asset.FindAllSubmatch(plain, -1) {
		data, err := get(ctx, server+string(match[1]))
		if err != nil {
			return 0, err
		}
		sum += len(data)
	}
	return sum, nil
}

func get(ctx context.Context, address string) ([]byte, error) {
	return fetch(ctx, address, "zstd, gzip")
}

// fetch returns a body as it came.
func fetch(ctx context.Context, address, encoding string) ([]byte, error) {
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
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, response.Status)
	}
	return body, err
}

// serve starts a server of so many models in this process.
func serve(ctx context.Context, models int) (address string, ended chan error, err error) {
	store := memory.New()
	if err := fill(ctx, store, models); err != nil {
		return "", nil, err
	}
	bucket, err := storage.Open(ctx, "mem://")
	if err != nil {
		return "", nil, err
	}
	s, err := server.New(ctx, server.Config{
		Listen: "127.0.0.1:0", Key: bytes.Repeat([]byte{7}, 32), Store: store, Bucket: bucket,
		Driver:  func(server.Host) (platform.Driver, error) { return driver.New(driver.Options{}) },
		Elector: leaderlocal.Alone{}, Peers: peers.None{},
		Auth:   auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}}),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", nil, err
	}
	ended = make(chan error, 1)
	go func() { ended <- s.Run(ctx, nil) }()
	for {
		if _, err := get(ctx, "http://"+s.Address()+"/readyz"); err == nil {
			return s.Address(), ended, nil
		}
		select {
		case err := <-ended:
			return "", nil, errors.Join(errors.New("the server ended"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	places    = []string{"north", "south", "east", "west", "upper", "lower", "new", "old", "great", "little"}
	stems     = []string{"ash", "birch", "cedar", "elm", "hazel", "linden", "maple", "oak", "pine", "rowan"}
	endings   = []string{"field", "ford", "ton", "ham", "bury", "wick", "ville", "dale", "stead", "bridge"}
	questions = []string{"readmission", "churn", "length-of-stay", "no-show", "sepsis-risk", "fall-risk", "fraud", "default-risk", "staffing", "demand"}
)

func customer(i int) string { return places[i%10] + "-" + stems[i/10%10] + endings[i/100%10] }

func name(i int) string {
	return fmt.Sprintf("%s-%s-%d", customer(i), questions[i/1000%10], i/10_000+1)
}

// fill makes models of a thousand customers, each with one version.
func fill(ctx context.Context, store *memory.Store, models int) error {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	number := func(name string) modelmanager.Field { return modelmanager.Field{Name: name, Type: modelmanager.Number} }
	for i := range models {
		s := &spec.Spec{
			Name: name(i), Summary: fmt.Sprintf("Probability of %s within thirty days (cohort %d)", questions[i/1000%10], i%997),
			Owner: fmt.Sprintf("team-%d@example.org", i%40), Labels: map[string]string{"customer": customer(i), "use": questions[i%10]},
			Serve:    []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
			Features: []modelmanager.Field{number("age"), number("weight"), number("dose"), number("visits")}, Predictions: []modelmanager.Field{number("risk")},
			Run: spec.Run{Command: []string{"./run"}}, Examples: []spec.Example{{Name: "usual"}},
		}
		canonical, err := s.Canonical()
		if err != nil {
			return err
		}
		err = store.CreateVersion(ctx, modelmanager.Version{Model: s.Name, Number: 1, Digest: fmt.Sprintf("sha256:%064d", i), Spec: canonical, Created: at})
		if err != nil {
			return err
		}
		traffic := modelmanager.All(1)
		traffic.At = at
		_, err = store.PutModel(ctx, modelmanager.Model{
			Name: s.Name, Summary: s.Summary, Owner: s.Owner, Labels: s.Labels, Serve: s.Serve, Latest: 1, Created: at, History: []modelmanager.Traffic{traffic},
		}, "")
		if err != nil {
			return err
		}
	}
	return nil
}
