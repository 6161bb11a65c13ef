package dataset

import (
	"io"

	modelmanager "modelmanager.dev"
)

func newXLSXWriter(out io.Writer, w *Writer) (formatWriter, error) {
	return nil, unknownFormat("output.format", w.options.Format)
}

var _ = modelmanager.CodeInternal
