//go:build unix && !linux

package writer

import (
	"errors"
	"os"

	"github.com/statesync/statesync/shm"
	"golang.org/x/sys/unix"
)

// Elsewhere than on Linux regions are for development and tests: pages are not
// reserved, and there is no seal.

func (w *Writer) reserve(*os.File, int64, int64) error { return nil }

func (w *Writer) survey() []int64 { return make([]int64, w.l.Slots) }

func (w *Writer) reclaim() bool { return false }

func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func (w *Writer) punch(int64, int64) error { return nil }

func (w *Writer) seal() error {
	if w.options.Seal {
		return shm.ErrUnsupported
	}
	return nil
}

func (w *Writer) unseal() error { return nil }
