package batch

import "time"

// metered is a doubler that knows what it costs.
type metered struct{ doubler }

func (*metered) CPU() time.Duration { return 1500 * time.Millisecond }
