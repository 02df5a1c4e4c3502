//go:build unix && !linux

package writer

import (
	"os"

	"github.com/statesync/statesync/shm"
)

// On systems other than Linux, regions are for development and tests: pages are
// not reserved, and there is no seal.

func (w *Writer) reserve(*os.File, int64, int64) error { return nil }

func (w *Writer) survey() []int64 { return make([]int64, w.l.Slots) }

func (w *Writer) strayBytes() int64 { return 0 }

func (w *Writer) punch(int64, int64) error { return nil }

func (w *Writer) seal() error {
	if w.options.Seal {
		return shm.ErrUnsupported
	}
	return nil
}

func (w *Writer) unseal() error { return nil }
