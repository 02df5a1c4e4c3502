package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/shm/failpoint"
)

// ErrRaised matches the error of a floor that is another one than the caller took it for.
var ErrRaised = errors.New("is another one by now")

// Floor is what was accepted last of a source.
type Floor struct {
	State string    `json:"state"` // a commit, or what package bundle writes
	Time  time.Time `json:"time"`
	Act   uint64    `json:"act,omitempty"` // the entry of the act that set it; 0: none did
}

var floorsName = []byte("floors")

// readFloor returns the floor of an identity, and a zero one if there is none. A file of an
// earlier build has no floors.
func (t *tx) readFloor(identity string) (f Floor, err error) {
	if t.floors.bucket == nil {
		return Floor{}, nil
	}
	text, err := t.floors.get([]byte(identity))
	if err != nil || text == nil {
		return Floor{}, err
	}
	return decodeFloor(text)
}

func decodeFloor(text []byte) (f Floor, err error) {
	if err := json.Unmarshal(text, &f); err != nil {
		return Floor{}, fmt.Errorf("%w: a floor: %w", ErrDamaged, err)
	}
	return f, nil
}

func (t *tx) putFloor(identity string, f Floor) error {
	if t.floors.bucket == nil {
		b, err := t.CreateBucket(floorsName)
		if err != nil {
			return err
		}
		t.floors = table{b, string(floorsName)}
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = t.floors.put([]byte(identity), text)
	return err
}

// readFloors returns all floors, by identity.
func (t *tx) readFloors() (map[string]Floor, error) {
	all := map[string]Floor{}
	if t.floors.bucket == nil {
		return all, nil
	}
	return all, t.floors.each(func(identity, text []byte) (err error) {
		all[string(identity)], err = decodeFloor(text)
		return err
	})
}

// Floor returns what was accepted last of the source of an identity; zero: nothing was.
func (s *Store) Floor(identity string) (f Floor, err error) {
	err = s.view(func(t *tx) error {
		f, err = t.readFloor(identity)
		return err
	})
	return f, err
}

// Floors returns those of all sources, by identity.
func (s *Store) Floors() (all map[string]Floor, err error) {
	err = s.view(func(t *tx) error {
		all, err = t.readFloors()
		return err
	})
	return all, err
}

// RaiseFloor replaces the state that was accepted last of a source. It is on stable storage
// when RaiseFloor returns. The error matches ErrRaised if the stored state is not from.
func (s *Store) RaiseFloor(identity, from, to string) error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.update(func(t *tx) error {
		old, err := t.readFloor(identity)
		if err != nil {
			return err
		}
		if old.State != from {
			return fmt.Errorf("what was accepted last %w: %q and not %q", ErrRaised, old.State, from)
		}
		if err := t.putFloor(identity, Floor{State: to, Time: now()}); err != nil {
			return err
		}
		failpoint.Here("history.floor-begin")
		return nil
	})
	if err == nil {
		failpoint.Here("history.floor-done")
	}
	return err
}

// ActFloor sets the state that was accepted last of a source, whatever it was, and enters
// the act in the audit, in one transaction. Of an empty state nothing is kept: the source
// begins anew. It returns the entry with its number.
func (s *Store) ActFloor(e Entry, identity, state string) (Entry, error) {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.update(func(t *tx) error {
		if err := t.enter(&e); err != nil {
			return err
		}
		switch {
		case state != "":
			return t.putFloor(identity, Floor{State: state, Time: now(), Act: e.Number})
		case t.floors.bucket == nil:
			return nil
		}
		_, err := t.floors.remove([]byte(identity))
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}
