package writer

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
)

// A directory without a region.v1 may say why.
func TestOpenSaysWhyThereIsNoRegion(t *testing.T) {
	dir := openTemp(t)
	_, err := shm.Open(dir, shm.Trust{})
	wantError(t, err, shm.ErrNoRegion)
	must(t, os.WriteFile(dir+"/region.v2", nil, 0o644))
	_, err = shm.Open(dir, shm.Trust{})
	wantError(t, err, shm.ErrLayout, "region.v2", "region.v1")
	must(t, os.Remove(dir+"/region.v2"))

	// What a container sees whose mount is of a directory that was removed and created again.
	needRoot(t)
	mount := openTemp(t)
	if err := unix.Mount(dir, mount, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o755))
	_, err = shm.Open(mount, shm.Trust{})
	wantError(t, err, shm.ErrNoRegion, "removed", "mount")
}

// A file that comes between the attempt to open it and the look for the reason
// is not one of another layout.
func TestRegionThatComesMeanwhileIsNotAnotherLayout(t *testing.T) {
	dir := openTemp(t)
	must(t, os.WriteFile(dir+"/"+shm.FileName, nil, 0o644))
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if err := access.WhyNoRegion(fd, dir, shm.ErrNoRegion); err != shm.ErrNoRegion {
		t.Errorf("got %v", err)
	}
}
