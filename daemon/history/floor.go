package history

import (
	"bytes"
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

// floorsKey is the key of meta with the number of floors. It is made with the table.
var floorsKey = floorsName

// readFloors returns all floors, by identity. A file of an earlier build has none. A lost
// floor would let a source go back, and nothing else in the file mentions it, so they are
// counted each time.
func (t *tx) readFloors() (map[string]Floor, error) {
	all := map[string]Floor{}
	count, err := t.meta.get(floorsKey)
	if err != nil {
		return nil, err
	}
	if (count == nil) != (t.floors.bucket == nil) {
		return nil, fmt.Errorf("%w: it has no floors, or no number of them", ErrDamaged)
	}
	if count == nil {
		return all, nil
	}
	err = t.floors.each(func(identity, text []byte) error {
		var f Floor
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("%w: a floor: %w", ErrDamaged, err)
		}
		all[string(identity)] = f
		return nil
	})
	if err == nil && !bytes.Equal(count, numberKey(uint64(len(all)))) {
		err = fmt.Errorf("%w: it has %d floors, and not %x", ErrDamaged, len(all), count)
	}
	return all, err
}

// setFloor replaces one of all floors. Of one without a state nothing is kept.
func (t *tx) setFloor(all map[string]Floor, identity string, f Floor) (err error) {
	if t.floors.bucket == nil {
		b, err := t.CreateBucket(floorsName)
		if err != nil {
			return err
		}
		t.floors = table{b, string(floorsName)}
	}
	if f.State == "" {
		delete(all, identity)
		_, err = t.floors.remove([]byte(identity))
	} else {
		all[identity] = f
		var text []byte
		if text, err = json.Marshal(f); err != nil {
			return err
		}
		_, err = t.floors.put([]byte(identity), text)
	}
	if err != nil {
		return err
	}
	_, err = t.meta.put(floorsKey, numberKey(uint64(len(all))))
	return err
}

// Floor returns what was accepted last of the source of an identity; zero: nothing was.
func (s *Store) Floor(identity string) (f Floor, err error) {
	err = s.view(func(t *tx) error {
		all, err := t.readFloors()
		f = all[identity]
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
		all, err := t.readFloors()
		if err != nil {
			return err
		}
		if old := all[identity]; old.State != from {
			return fmt.Errorf("what was accepted last %w: %q and not %q", ErrRaised, old.State, from)
		}
		if err := t.setFloor(all, identity, Floor{State: to, Time: now()}); err != nil {
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
		all, err := t.readFloors()
		if err != nil {
			return err
		}
		return t.setFloor(all, identity, Floor{State: state, Time: now(), Act: e.Number})
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}
