//go:build unix

package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm"
)

// Two regions with the same last element have different names.
func TestRegionName(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, path := range []string{"/x/conf", "/y/conf", "/x/conf/", "conf", "/dev/shm/statesync", shm.DefaultDir + "/"} {
		name, err := RegionName(path)
		if err != nil || strings.Contains(name, "/") {
			t.Errorf("%s: %q (%v)", path, name, err)
		}
		names[name] = true
	}
	if len(names) != 5 || !names["default"] {
		t.Errorf("%v", names)
	}
}

// A state directory belongs to one region.
func TestStateDirOfAnotherRegion(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	region := s.opt.Region
	s.opt.Region = filepath.Join(filepath.Dir(region), "other")
	if err := s.once(); err == nil || !strings.Contains(err.Error(), region) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("a state directory of another region: %v", err)
	}
	mustNotExist(t, filepath.Join(s.opt.Region, shm.FileName))
	if err := os.Remove(s.stateFile(regionFile)); err != nil { // as the message says
		t.Fatal(err)
	}
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
}

// The state directory that was the default before is taken over by the daemon whose
// region it was, and by no other.
func TestTakeOver(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.stateFile(regionFile)); err != nil { // as an earlier version left it
		t.Fatal(err)
	}
	s.asBefore()
	s.opt.OldStateDir, s.opt.StateDir = s.opt.StateDir, filepath.Join(filepath.Dir(s.opt.StateDir), "new")

	other := *s
	other.opt.Region, other.opt.StateDir = s.opt.Region+"2", s.opt.StateDir+"2"
	if err := other.once(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.opt.OldStateDir); err != nil {
		t.Fatal("another region's daemon took it over")
	}
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	mustNotExist(t, s.opt.OldStateDir)
	if n := s.reserved(); n != reserveBlock {
		t.Errorf("%d generations are reserved", n)
	}
}
