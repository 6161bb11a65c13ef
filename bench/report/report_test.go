package report_test

import (
	"os"
	"time"

	"modelmanager.dev/bench/report"
)

func ExampleMarkdown() {
	_ = report.Markdown(os.Stdout,
		report.Row{What: "search", Peer: "SQLite", Ours: report.Duration(2100 * time.Microsecond), Theirs: report.Duration(58 * time.Millisecond), Ratio: 27.6, Reach: "5×", Aim: "20×"},
		report.Row{What: "heap a model | index", Ours: report.Bytes(477), Reach: "2 KB", Aim: "600 B"},
	)
	// Output:
	// | what | ours | peer | theirs | ratio | to reach | aim |
	// |---|---|---|---|---|---|---|
	// | search | 2.1 ms | SQLite | 58 ms | 28× | 5× | 20× |
	// | heap a model \| index | 477 B |  |  |  | 2 KB | 600 B |
}
