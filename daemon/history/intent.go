package history

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/statesync/statesync/shm/failpoint"
)

var intentKey = []byte("intent")

// Intent returns what operators asked for.
func (s *Store) Intent() (i Intent, err error) {
	err = s.view(func(t *tx) error {
		i, err = t.readIntent()
		return err
	})
	return i, err
}

func (t *tx) readIntent() (i Intent, err error) {
	text, err := t.intent.get(intentKey)
	if err != nil {
		return Intent{}, err
	}
	if err := json.Unmarshal(text, &i); err != nil {
		return Intent{}, fmt.Errorf("%w: the intent: %w", ErrDamaged, err)
	}
	return i, nil
}

// Act changes the intent and enters the act in the audit, in one transaction that is on
// stable storage when it returns. change gets the number of the entry and the intent,
// which it edits in place; with its error nothing happens. If the pin's Act is another one
// afterwards, the configs of the record that the pin names are kept for it until it goes;
// the error matches ErrNotKept if there is no such record, and ErrPurged if it has a value
// that was purged. Act returns the entry with its number, and the new intent.
func (s *Store) Act(e Entry, change func(number uint64, i *Intent) error) (Entry, Intent, error) {
	s.write.Lock()
	defer s.write.Unlock()
	var after Intent
	err := s.update(func(t *tx) error {
		before, err := t.readIntent()
		if err != nil {
			return err
		}
		if after, err = t.readIntent(); err != nil { // a copy that shares nothing
			return err
		}
		if err := t.enter(&e); err != nil {
			return err
		}
		outside(func() { err = change(e.Number, &after) })
		if err != nil {
			return err
		}
		if err := t.movePin(before.Pin, after.Pin); err != nil {
			return err
		}
		text, err := json.Marshal(after)
		if err != nil {
			return err
		}
		if _, err := t.intent.put(intentKey, text); err != nil {
			return err
		}
		failpoint.Here("history.act-begin")
		return nil
	})
	if err != nil {
		return Entry{}, Intent{}, err
	}
	failpoint.Here("history.act-done")
	return e, after, nil
}

// movePin keeps the configs of a new pin, and releases those of the old one.
func (t *tx) movePin(before, after *Pin) error {
	if before == nil && after == nil || before != nil && after != nil && before.Act == after.Act {
		return nil
	}
	old, err := t.pinned()
	if err != nil {
		return err
	}
	for _, r := range old {
		t.mentionRef(r, -1, nil)
	}
	if err := t.pin.clear(); err != nil {
		return err
	}
	if after == nil {
		return nil
	}
	configs, err := t.configsAt(after.Generation)
	if err != nil {
		return err
	}
	for _, r := range sorted(configs) {
		if r.Purged {
			return fmt.Errorf("the config %s of generation %d was %w", r.Name, after.Generation, ErrPurged)
		}
		t.mentionRef(r, 1, nil)
		if _, err := t.pin.put([]byte(r.Name), appendRef(nil, r)); err != nil {
			return err
		}
	}
	return nil
}

// Pinned returns the configs that are kept for the pin, sorted by name, whether or not
// its record is kept.
func (s *Store) Pinned() (refs []Ref, err error) {
	err = s.view(func(t *tx) error {
		refs, err = t.pinned()
		return err
	})
	return refs, err
}

func (t *tx) pinned() (refs []Ref, err error) {
	err = t.pin.each(func(key, value []byte) error {
		r, err := decodeHeadRef(string(key), value)
		refs = append(refs, r)
		return err
	})
	return refs, err
}

// now is the time of an entry whose caller gave none.
func now() time.Time { return time.Now().UTC() }
