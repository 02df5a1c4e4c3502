package writer

import (
	"sync/atomic"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
)

// writeStatus stores a status under its own sequence, which a writer that died in
// the middle left odd.
func writeStatus(l *layout.Layout, s shm.Status) error {
	var words [layout.StatusWords]uint64
	n := s.Encode(&words)
	return l.Guarded(func() error {
		block := l.Status()
		sequence := atomic.LoadUint64(&block[layout.StatusSequence]) | 1
		atomic.StoreUint64(&block[layout.StatusSequence], sequence)
		seqlock.StoreWords(block[layout.StatusSequence+1:], words[layout.StatusSequence+1:n])
		atomic.StoreUint64(&block[layout.StatusSequence], sequence+1)
		return nil
	})
}
