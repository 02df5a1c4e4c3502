package history

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
)

// table is a bucket whose values end with a sum over the table's name, the key and the
// value. A bit that flipped in any of them is found where the value is read.
type table struct {
	bucket *bbolt.Bucket
	name   string
}

const sealBytes = 8

// seal is the sum of a value.
func (t table) seal(key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(key)))
	_, _ = d.WriteString(t.name)
	_, _ = d.Write(length[:])
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return d.Sum64()
}

// open verifies a stored value, and returns it without its sum. It is valid in the
// transaction.
func (t table) open(key, stored []byte) ([]byte, error) {
	n := len(stored) - sealBytes
	if n < 0 || binary.LittleEndian.Uint64(stored[n:]) != t.seal(key, stored[:n]) {
		return nil, fmt.Errorf("%w: the sum of %s %.64q does not match", ErrDamaged, t.name, key)
	}
	return stored[:n:n], nil
}

// get returns the value of a key, or nil if there is none.
func (t table) get(key []byte) ([]byte, error) {
	stored := t.bucket.Get(key)
	if stored == nil {
		return nil, nil
	}
	return t.open(key, stored)
}

// put stores a value, and returns how many bytes longer the table is.
func (t table) put(key, value []byte) (int64, error) {
	grown := int64(len(key) + len(value) + sealBytes)
	if old := t.bucket.Get(key); old != nil {
		grown -= int64(len(key) + len(old))
	}
	sealed := make([]byte, len(value), len(value)+sealBytes)
	copy(sealed, value)
	return grown, t.bucket.Put(key, binary.LittleEndian.AppendUint64(sealed, t.seal(key, value)))
}

// remove deletes a key, and returns how many bytes longer the table is.
func (t table) remove(key []byte) (int64, error) {
	old := t.bucket.Get(key)
	if old == nil {
		return 0, nil
	}
	grown := -int64(len(key) + len(old))
	return grown, t.bucket.Delete(key)
}

// each calls f for each key, in order, until f returns an error.
func (t table) each(f func(key, value []byte) error) error {
	c := t.bucket.Cursor()
	for key, stored := c.First(); key != nil; key, stored = c.Next() {
		if stored == nil {
			return fmt.Errorf("%w: %s has a bucket %.64q", ErrDamaged, t.name, key)
		}
		value, err := t.open(key, stored)
		if err != nil {
			return err
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

// clear deletes all keys.
func (t table) clear() error {
	var keys [][]byte
	c := t.bucket.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		keys = append(keys, append([]byte(nil), key...))
	}
	for _, key := range keys {
		if err := t.bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// numberKey is a key that sorts as its number does.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// keyNumber is the number of a key.
func (t table) keyNumber(key []byte) (uint64, error) {
	if len(key) != 8 {
		return 0, fmt.Errorf("%w: %s has the key %.64q", ErrDamaged, t.name, key)
	}
	return binary.BigEndian.Uint64(key), nil
}

// first and last return the least and the greatest number of the keys, and 0 if there
// is none.
func (t table) first() (uint64, error) {
	key, _ := t.bucket.Cursor().First()
	if key == nil {
		return 0, nil
	}
	return t.keyNumber(key)
}

func (t table) last() (uint64, error) {
	key, _ := t.bucket.Cursor().Last()
	if key == nil {
		return 0, nil
	}
	return t.keyNumber(key)
}

// down calls f for each number below one, the greatest first, until f returns false or
// an error. 0 is above all.
func (t table) down(below uint64, f func(number uint64, value []byte) (bool, error)) error {
	c := t.bucket.Cursor()
	var key, stored []byte
	if below == 0 {
		key, stored = c.Last()
	} else {
		if key, _ = c.Seek(numberKey(below)); key == nil {
			key, stored = c.Last()
		} else {
			key, stored = c.Prev()
		}
	}
	for ; key != nil; key, stored = c.Prev() {
		number, err := t.keyNumber(key)
		if err != nil {
			return err
		}
		value, err := t.open(key, stored)
		if err != nil {
			return err
		}
		if more, err := f(number, value); err != nil || !more {
			return err
		}
	}
	return nil
}
