package kube

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev"
)

// An apiserver finds an object by its name in a millisecond, and a model's
// versions by looking at all versions there are: half a second of its time
// where they are half a million. So a model's versions are read one by one, by
// their numbers, as long as these have no gaps that the reader can't know of:
//
//   - CreateVersion marks a model before it gives a number whose predecessor
//     doesn't exist, as happens where another cluster gives the numbers;
//   - the model's record says which versions were dropped, and the first never
//     is, so that there is one if there is any.
//
// Where a number is missing, the mark is set, or there are many, the versions
// are listed.

const (
	numbersAnnotation = "modelmanager.dev/numbers"
	numbersSparse     = "sparse"

	walkLimit = 64 // versions that are read one by one
	walkers   = 8  // of them at once
)

// errGap says that a model's versions must be listed.
var errGap = errors.New("its numbers have a gap")

// walk reads a model's versions below before (0: from the newest) by their
// numbers, newest first, or fails with errGap.
func (s *Store) walk(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	o, err := s.modelObject(ctx, model)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return nil, errGap // versions may have outlived it
	}
	if err != nil {
		return nil, err
	}
	top := max(o.Spec.Latest, 0)
	if o.Metadata.Annotations[numbersAnnotation] == numbersSparse || min(limit, top) > walkLimit {
		return nil, errGap
	}
	var versions []modelmanager.Version
	if before == 0 || before > top+1 {
		// A publisher that died may have left versions that aren't counted yet.
		for number := top + 1; before == 0 || number < before; number++ {
			version, err := s.Version(ctx, model, number)
			if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
				break
			}
			if err != nil {
				return nil, err
			}
			if top == 0 {
				return nil, errGap // older than the model's object
			}
			versions = append([]modelmanager.Version{version}, versions...)
		}
		before = top + 1
	}
	versions = versions[:min(limit, len(versions))]
	record, err := o.readRecord()
	if err != nil {
		return nil, errGap
	}
	var numbers []int
	for number := before - 1; number >= 1 && len(numbers) < limit-len(versions); number-- {
		if !record.Dropped.Has(number) {
			numbers = append(numbers, number)
		}
	}
	older, err := s.readNumbers(ctx, model, numbers)
	return append(versions, older...), err
}

// readNumbers reads versions by their numbers; errGap if one is missing.
func (s *Store) readNumbers(ctx context.Context, model string, numbers []int) ([]modelmanager.Version, error) {
	versions := make([]modelmanager.Version, len(numbers))
	errs := make([]error, len(versions))
	var group sync.WaitGroup
	places := make(chan struct{}, walkers)
	for i := range versions {
		places <- struct{}{}
		group.Go(func() {
			versions[i], errs[i] = s.Version(ctx, model, numbers[i])
			<-places
		})
	}
	group.Wait()
	for _, err := range errs {
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
			return nil, errGap
		}
		if err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// markGap marks a model if a number is to be given whose predecessor doesn't exist.
func (s *Store) markGap(ctx context.Context, model string, number int) error {
	if number == 1 || s.seen.has(model, number-1) {
		return nil
	}
	_, err := s.Version(ctx, model, number-1)
	if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		return err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	patch := `{"metadata":{"annotations":{"` + numbersAnnotation + `":"` + numbersSparse + `"}}}`
	_, err = send(ctx, s.request(s.client.Patch(types.MergePatchType), models).Name(model).Param("fieldManager", Manager).Body([]byte(patch)))
	if err != nil && !lacksObject(err, model) {
		return failedIn(ctx, "marking a gap in the numbers of "+model, err)
	}
	return nil
}

// seen remembers of some models a version that exists, to spare a look at it.
type seen struct {
	mu     sync.Mutex
	newest map[string]int
}

func (s *seen) note(version modelmanager.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.newest) > 10000 || s.newest == nil {
		s.newest = map[string]int{}
	}
	s.newest[version.Model] = max(s.newest[version.Model], version.Number)
}

func (s *seen) has(model string, number int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[model] == number
}
