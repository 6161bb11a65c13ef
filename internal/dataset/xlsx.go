package dataset

import (
	"context"

	modelmanager "modelmanager.dev"
)

type xlsxRowsBlock struct{}

func (b *xlsxRowsBlock) values(dst []value, row, width int) []value { return dst }

func sniffXLSX(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema) (modelmanager.JobInput, error) {
	return input, unknownFormat("input.format", input.Format)
}

func xlsxRows(ctx context.Context, src Source, input modelmanager.JobInput) (int64, error) {
	return 0, unknownFormat("input.format", input.Format)
}

func (o opening) openXLSX() (*Header, batchSource, error) {
	return nil, nil, unknownFormat("input.format", o.input.Format)
}
