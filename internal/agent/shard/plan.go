package shard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// Piece is where a part of an input goes that has to be split. It appears at
// Close; Abort drops it.
type Piece struct {
	Key string
	PieceWriter
}

// PieceWriter writes a Piece.
type PieceWriter interface {
	io.WriteCloser
	Abort()
}

// PlanOptions say how to plan.
type PlanOptions struct {
	Input  modelmanager.JobInput
	Output modelmanager.JobOutput
	Spec   *spec.Spec
	SHA256 string // of the input, in hexadecimal, if it is known: it isn't read for it
	Piece  func(ctx context.Context, index int) (Piece, error)
}

// MakePlan finds out how to read an input, checks that it fits the model, and
// cuts it into shards at record boundaries. The server does this itself for a
// small input; an agent does, in the plan step, for a large one.
func MakePlan(ctx context.Context, src dataset.Source, options PlanOptions) (*Plan, error) {
	features, err := dataset.Compile(options.Spec.Features)
	if err != nil {
		return nil, err
	}
	input, err := dataset.Sniff(ctx, src, options.Input, features)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(ctx, src, input, options); err != nil {
		return nil, err
	}
	plan := &Plan{Input: input, Size: src.Size(), Shards: []Shard{}}
	rowsPerShard := options.Spec.Batch.RowsPerShard
	if options.Spec.SeesAllRows() {
		rowsPerShard = 0
	}
	slices, err := dataset.Plan(ctx, src, input, rowsPerShard)
	if err != nil {
		return nil, err
	}
	if err := fitsMemory(options.Spec, slices); err != nil {
		return nil, err
	}
	for _, slice := range slices {
		plan.Shards = append(plan.Shards, Shard{Slice: slice})
	}
	if dataset.NeedsSplit(input) && rowsPerShard > 0 && len(slices) == 1 && slices[0].Rows > rowsPerShard {
		if plan.Shards, err = split(ctx, src, plan.Input, rowsPerShard, options); err != nil {
			return nil, err
		}
	}
	if len(slices) == 0 {
		// One shard without rows writes an output without rows, header and all.
		plan.Shards = append(plan.Shards, Shard{Slice: dataset.Whole()})
	}
	if plan.SHA256 = options.SHA256; plan.SHA256 == "" {
		plan.SHA256, err = digest(ctx, src)
	}
	return plan, err
}

// fitsMemory refuses rows that have to be in memory together, and can't be: by
// their number alone, whatever their texts are.
func fitsMemory(s *spec.Spec, slices []dataset.Slice) error {
	if s.Rows != spec.Dependent || s.Run.Job != nil {
		return nil
	}
	const mebi = 1 << 20
	var rows, row int64
	for _, slice := range slices {
		rows += slice.Rows
	}
	for _, feature := range s.Features {
		switch feature.Type {
		case modelmanager.Integer, modelmanager.Number:
			row += 8
		case modelmanager.String, modelmanager.Array:
			row += 4 // where it begins
		}
	}
	if need := rows * row; need > s.Resources.Memory {
		return modelmanager.Errorf(modelmanager.CodeTooLarge,
			"the model sees all rows at once (rows: dependent): %d rows of %s take %d MiB at the least, and its resources.memory is %d MiB; submit fewer rows, or ask its owner to raise it",
			rows, wording.Count(len(s.Features), "feature"), need/mebi, s.Resources.Memory/mebi)
	}
	return nil
}

// split rewrites an input that can't be read from the middle into a file per shard.
func split(ctx context.Context, src dataset.Source, input modelmanager.JobInput, rowsPerShard int64, options PlanOptions) ([]Shard, error) {
	var keys []string
	slices, err := dataset.Split(ctx, src, input, rowsPerShard, func(index int) (io.WriteCloser, error) {
		piece, err := options.Piece(ctx, index)
		if err != nil {
			return nil, err
		}
		keys = append(keys, piece.Key)
		return piece, nil
	})
	if err != nil {
		return nil, err
	}
	shards := make([]Shard, len(slices))
	for i, slice := range slices {
		shards[i] = Shard{Slice: slice, Piece: keys[i]}
	}
	return shards, nil
}

// checkHeader refuses a file whose columns don't fit the features, or have the
// names of the predictions, before the first row is read.
func checkHeader(ctx context.Context, src dataset.Source, input modelmanager.JobInput, options PlanOptions) error {
	features, err := dataset.Compile(options.Spec.Features)
	if err != nil {
		return err
	}
	predictions, err := dataset.Compile(options.Spec.Predictions)
	if err != nil {
		return err
	}
	r, err := dataset.NewReader(ctx, src, input, features, dataset.Whole(), dataset.ReaderOptions{BatchRows: 1})
	if err != nil {
		return err
	}
	defer r.Close()
	output := options.Output
	output.Format = cmp.Or(output.Format, input.Format)
	return dataset.CheckOutput(r.Header().Columns, predictions, output)
}

func digest(ctx context.Context, src dataset.Source) (string, error) {
	r, err := src.ReadAt(ctx, 0, -1)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, r, make([]byte, 256<<10))
	if err != nil {
		return "", modelmanager.Errorf(modelmanager.CodeStorage, "reading the input: %w", err)
	}
	if n != src.Size() {
		return "", modelmanager.Errorf(modelmanager.CodeInputChanged, "the input has %d bytes, not %d as when the job was accepted", n, src.Size())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
