package shm

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

// Memory of a mapping vanishes when its file is truncated, and a hole in it
// has no page to give on a full file system: the touch is then a SIGBUS, which
// kills the process unless debug.SetPanicOnFault was called before.

// fault is the panic that SetPanicOnFault makes of it.
type fault interface {
	runtime.Error
	Addr() uintptr
}

// contains says whether an address is in the mapping.
func (l *layout) contains(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(l.words)))
	return addr >= start && addr < start+uintptr(len(l.words)*wordBytes)
}

// recoverFault ends a guarded touch of the mapping. It is to be deferred, with
// what SetPanicOnFault(true) returned; a fault in the mapping sets err to
// ErrFault, any other panic goes on.
func (l *layout) recoverFault(old bool, err *error) {
	debug.SetPanicOnFault(old)
	e := recover()
	if e == nil {
		return
	}
	if f, ok := e.(fault); ok && l.contains(f.Addr()) {
		*err = ErrFault
		return
	}
	panic(e)
}

// guarded runs touch and turns a fault in the mapping into ErrFault.
func (l *layout) guarded(touch func() error) (err error) {
	defer l.recoverFault(debug.SetPanicOnFault(true), &err)
	return touch()
}
