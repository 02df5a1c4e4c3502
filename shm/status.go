package shm

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/layout"
)

// MaxLayers is how many layers a status has room for.
const MaxLayers = layout.MaxLayers

// The times of a writer's heartbeat; see package layout.
const (
	HeartbeatInterval = layout.HeartbeatInterval
	StaleAfter        = layout.StaleAfter
)

type (
	// Status is what the writer tells the region's readers about itself. It is
	// information: no read depends on it.
	Status = layout.Status
	// Observation is what a status says of the sources and of what came of them.
	Observation = layout.Observation
	// Layer is what a status says of one source.
	Layer = layout.Layer
	// Finding is one reason why a newer revision is not published.
	Finding = layout.Finding
	// State is what a writer says of itself.
	State = layout.State
)

// The states of a writer.
const (
	Unknown = layout.Unknown
	Running = layout.Running
	Stopped = layout.Stopped
)

// Boottime is the clock of a status: the time since the machine was started,
// suspension included. It is one clock for all processes, and does not jump.
func Boottime() time.Duration { return layout.Boottime() }

// Status reads what the writer says of itself. The error is ErrFault when the
// region's memory is gone, and ErrBusy when the status is being written each
// time: a writer that died while it wrote leaves it so until its successor
// starts.
func (r *Region) Status() (Status, error) {
	var words [layout.StatusWords]uint64
	for range MaxTries {
		whole := false
		err := r.l.Guarded(func() error {
			block := r.l.Status()
			before := atomic.LoadUint64(&block[layout.StatusSequence])
			seqlock.LoadWords(words[:layout.StatusHead], block)
			seqlock.LoadWords(words[layout.StatusHead:][:layout.FieldsIn(&words)], block[layout.StatusHead:])
			whole = before%2 == 0 && before == atomic.LoadUint64(&block[layout.StatusSequence])
			return nil
		})
		if err != nil {
			return Status{}, fmt.Errorf("%s: the writer's status: %w", r.path, err)
		}
		if whole {
			return layout.DecodeStatus(&words), nil
		}
	}
	return Status{}, fmt.Errorf("%s: the writer's status: %w", r.path, ErrBusy)
}

// Beating reports whether the writer's heartbeat is recent. Unlike Status it makes
// two loads. It is false if memory is gone.
func (r *Region) Beating() bool {
	var s Status
	err := r.l.Guarded(func() error {
		s.State = State(atomic.LoadUint64(&r.l.Status()[layout.StatusState]))
		s.Heartbeat = time.Duration(atomic.LoadUint64(&r.l.Status()[layout.StatusHeartbeat]))
		return nil
	})
	return err == nil && s.Alive()
}
