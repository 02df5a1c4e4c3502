//go:build unix

package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/statesync/statesync/shm"
)

// regionFile has the path of the region that a state directory belongs to.
const regionFile = "region"

// RegionName is a name for a region that no other on the host has, made of its whole
// path: "default" for shm.DefaultDir, and for others the last element of the path and
// a digest of all of it.
func RegionName(region string) (string, error) {
	path, err := filepath.Abs(region)
	if err != nil {
		return "", err
	}
	if path == shm.DefaultDir {
		return "default", nil
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Base(path) + "-" + hex.EncodeToString(sum[:4]), nil
}

// belongTo makes sure that the directory belongs to a region: that of another one has
// its generations and its configs.
func (s *stateDir) belongTo(region string) error {
	region, err := filepath.Abs(region)
	if err != nil {
		return err
	}
	f, err := s.root.Open(regionFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.replace(regionFile, func(f *os.File) error {
			_, err := io.WriteString(f, region+"\n")
			return err
		}); err != nil {
			s.errors.Inc()
			s.log.Error("the state directory cannot be marked as this region's: another region's daemon would not refuse it",
				"state_dir", s.path, "error", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 8192))
	if err != nil {
		return err
	}
	if of := strings.TrimSuffix(string(text), "\n"); of != region {
		return fmt.Errorf("the state directory %s belongs to the region %q, and this one is %s; give this daemon another --state-dir, "+
			"or if that region was moved here, remove %s", s.path, of, region, filepath.Join(s.path, regionFile))
	}
	return nil
}

// takeOver renames the directory that had a region's state by default before, if there
// is none yet at the new place, and if the old one has what the region holds: several
// regions may have shared it. The region is locked by the caller.
func takeOver(old, now, region string, maxImage int64, log *slog.Logger) {
	if old == "" || old == now {
		return
	}
	if _, err := os.Lstat(now); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	root, err := os.OpenRoot(old)
	if err != nil {
		return
	}
	defer root.Close()
	s := &stateDir{path: old, root: root, log: log}
	atOnce, cancel := context.WithCancel(context.Background())
	cancel()
	lock, err := s.acquire(atOnce)
	if err != nil {
		return
	}
	defer lock.Close()
	saved, err := s.lastGood(maxImage)
	if err != nil || saved == nil {
		return
	}
	held, _, err := readRegion(region)
	if err != nil || held.Generation() != saved.Generation() || !held.Same(saved.Sections()) {
		log.Warn("the state directory of an earlier version is not this region's, and is left alone", "state_dir", old)
		return
	}
	if err := os.Rename(old, now); err != nil {
		log.Warn("the state directory of an earlier version cannot be taken over", "state_dir", old, "error", err)
		return
	}
	log.Info("took the state directory of an earlier version over", "from", old, "to", now)
}
