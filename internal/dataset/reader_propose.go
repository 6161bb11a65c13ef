package dataset

import (
	"context"

	modelmanager "modelmanager.dev"
)

// ReadHeader reads what a sniffed file says about its columns, whether or not
// they fit a model.
func ReadHeader(ctx context.Context, src Source, input modelmanager.JobInput) (*Header, error) {
	empty, err := Compile(nil)
	if err != nil {
		return nil, err
	}
	input.Columns = nil
	r, err := NewReader(ctx, src, input, empty, Whole(), ReaderOptions{})
	if err != nil {
		return nil, err
	}
	return r.Header(), r.Close()
}
