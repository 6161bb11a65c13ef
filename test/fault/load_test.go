package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
)

// load is a steady stream of calls of a model: as many a second whatever
// becomes of them.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	took    []time.Duration
	answers map[int]int // calls by version
	failed  []string
}

// startLoad starts to call a model. want is the prediction for x = 20, by version.
func startLoad(t *testing.T, s *server, model string, every time.Duration, want map[int]float64) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, answers: map[int]int{}}
	t.Cleanup(func() { l.stop() })
	connections := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 60 * time.Second}
	url := "http://" + s.address + "/v1/models/" + model + "/predict"
	l.done.Go(func() {
		defer connections.CloseIdleConnections()
		var calls sync.WaitGroup
		defer calls.Wait()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				calls.Go(func() { l.call(connections, url, want) })
			case <-ctx.Done():
				return
			}
		}
	})
	return l
}

func (l *load) call(connections *http.Client, url string, want map[int]float64) {
	begin := time.Now()
	version, err := ask(connections, url, want)
	took := time.Since(begin)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("after %s: %v", took.Round(time.Millisecond), err))
		return
	}
	l.took = append(l.took, took)
	l.answers[version]++
}

func ask(connections *http.Client, url string, want map[int]float64) (version int, err error) {
	response, err := connections.Post(url, "application/json", bytes.NewReader([]byte(`{"rows": [{"x": 20}]}`)))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	var answer modelmanager.PredictResponse
	var prediction struct{ Y float64 }
	if response.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil || len(answer.Predictions) != 1 ||
		json.Unmarshal(answer.Predictions[0], &prediction) != nil {
		return 0, fmt.Errorf("%s: %s", response.Status, body)
	}
	if expected, known := want[answer.Version]; !known || expected != prediction.Y {
		return 0, fmt.Errorf("version %d answered %v", answer.Version, prediction.Y)
	}
	return answer.Version, nil
}

// answered returns how many calls a version has answered; 0: all versions.
func (l *load) answered(version int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version == 0 {
		return len(l.took)
	}
	return l.answers[version]
}

// awaitAnswers waits until a version has answered n calls more.
func (l *load) awaitAnswers(t *testing.T, version, n int) {
	t.Helper()
	n += l.answered(version)
	await(t, 60*time.Second, fmt.Sprintf("version %d has answered", version), func() error {
		if got := l.answered(version); got < n {
			return fmt.Errorf("%d of %d calls", got, n)
		}
		return nil
	})
}

// stop ends the calls, and waits for those under way.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

// noneFailed ends the calls; none of them may have failed. It returns their p99.
func (l *load) noneFailed(t *testing.T) time.Duration {
	t.Helper()
	l.stop()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d calls failed; the first ones: %q", len(l.failed), len(l.failed)+len(l.took), l.failed[:min(5, len(l.failed))])
	}
	if len(l.took) == 0 {
		t.Fatal("no call was answered")
	}
	slices.Sort(l.took)
	return l.took[len(l.took)*99/100]
}

// rows are the rows of a request.
func rows(objects ...string) []json.RawMessage {
	list := make([]json.RawMessage, len(objects))
	for i, object := range objects {
		list[i] = json.RawMessage(object)
	}
	return list
}
