package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// trusted lists the users that --owner and the environment name.
func (a *app) trusted() ([]int, error) {
	owners := slices.Clone(a.owners)
	if list := a.env(client.EnvOwner); list != "" {
		if err := owners.Set(list); err != nil {
			return nil, usageError{fmt.Errorf("%s=%q: %w", client.EnvOwner, list, err)}
		}
	}
	return owners, nil
}

// open opens the region for a single look.
func (a *app) open() (*shm.Region, error) {
	owners, err := a.trusted()
	if err != nil {
		return nil, err
	}
	r, err := shm.Open(a.dir(), shm.Trust{Owners: owners})
	return r, a.explain(err)
}

// connect opens the region to follow it. Without WaitContext or Lazy among the
// options there has to be one.
func (a *app) connect(options ...client.Option) (*client.Client, error) {
	owners, err := a.trusted()
	if err != nil {
		return nil, err
	}
	for _, uid := range owners {
		options = append(options, client.WithOwner(uid))
	}
	c, err := client.Open(a.dir(), options...)
	return c, a.explain(err)
}

// read calls fn with the current image until it was whole for the whole time.
// fn begins anew at each call.
func (a *app) read(r *shm.Region, fn func(*image.View) error) error {
	_, err := r.Read(func(hot seqlock.Hot, words []uint64) error {
		view, err := image.Open(words, hot.Generation())
		if err != nil {
			return err
		}
		return fn(&view)
	})
	return a.explain(err)
}

// find copies a config out of an image.
func find(v *image.View, name string) (*image.Section, error) {
	e, err := v.Find(image.HashName(name))
	if err != nil {
		return nil, err
	}
	s, err := v.Section(e)
	if err == nil && s.Name() != name {
		err = image.ErrNotFound // another name with the same hash
	}
	return &s, err
}

// names lists the configs of an image. It copies all of them to do so.
func names(v *image.View) ([]string, error) {
	list := make([]string, 0, v.Len())
	err := eachSection(v, func(_ image.Entry, s *image.Section) error {
		list = append(list, strings.Clone(s.Name()))
		return nil
	})
	return list, err
}

// eachSection calls fn with each config of an image, in the order of the names.
func eachSection(v *image.View, fn func(image.Entry, *image.Section) error) error {
	for i := range v.Len() {
		e, err := v.Entry(i)
		if err != nil {
			return err
		}
		s, err := v.Section(e)
		if err != nil {
			return err
		}
		if err := fn(e, &s); err != nil {
			return err
		}
	}
	return nil
}

// packagedUnit is the unit that the packages install. It publishes into
// shm.DefaultDir.
const packagedUnit = "/usr/lib/systemd/system/statesyncd.service"

// unit is how the daemon of a region is run: the packaged unit's name, or "" where it
// is not known.
type unit string

// unitOf is the unit of the daemon of a region.
func unitOf(dir, path string) unit {
	if _, err := os.Stat(path); err == nil && filepath.Clean(dir) == shm.DefaultDir {
		return unit(strings.TrimSuffix(filepath.Base(path), ".service"))
	}
	return ""
}

// start says how it is started.
func (u unit) start() string {
	if u == "" {
		return "start statesyncd"
	}
	return "run systemctl start " + string(u)
}

// log says where its log is; empty where that is not known.
func (u unit) log() string {
	if u == "" {
		return ""
	}
	return " (journalctl -u " + string(u) + ")"
}

// startDaemon says how an operator starts the daemon of a region.
func startDaemon(dir, path string) string {
	if unitOf(dir, path) != "" {
		return "see why statesyncd did not publish it: systemctl status statesyncd"
	}
	return "start the daemon: statesyncd --source dir:PATH --region " + dir
}

// explain adds to an error about a region what an operator can do about it. An
// error of package client has the advice for an application, which is left out.
func (a *app) explain(err error) error {
	dir := a.dir()
	var untrusted *shm.UntrustedError
	var path *fs.PathError
	switch {
	case errors.As(err, &untrusted) && untrusted.Owner >= 0:
		return fmt.Errorf("%w; to trust that user, use --owner %d or set %s=%d", untrusted, untrusted.Owner, client.EnvOwner, untrusted.Owner)
	case untrusted != nil && untrusted.Mode != 0:
		return fmt.Errorf("%w; chmod go-w %s", untrusted, untrusted.Path)
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &path):
		return fmt.Errorf("%w; run statesync as root, as the owner, or in the group", path)
	case errors.Is(err, shm.ErrNoRegion) && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: still %w; %s", dir, shm.ErrNoRegion, startDaemon(dir, packagedUnit))
	case errors.Is(err, shm.ErrNoRegion):
		return fmt.Errorf("%s: %w; %s; or name another region with --region or %s%s",
			dir, shm.ErrNoRegion, startDaemon(dir, packagedUnit), client.EnvRegion, otherRegions(dir))
	case errors.Is(err, shm.ErrLayout):
		return fmt.Errorf("%w; use the statesync that came with the running statesyncd", err)
	case errors.Is(err, shm.ErrCorrupt), errors.Is(err, shm.ErrFault), errors.Is(err, image.ErrCorrupt):
		return fmt.Errorf("the region in %s is damaged: %w; statesync verify lists the damage, and restarting statesyncd repairs it", dir, err)
	case errors.Is(err, shm.ErrBusy):
		return fmt.Errorf("%w; try again, and if that does not help: statesync verify", err)
	}
	return err
}

// maxOthers is how many other regions an error names.
const maxOthers = 3

// otherRegions are the regions beside one in the usual place that is not there.
func otherRegions(dir string) string {
	parent := filepath.Dir(shm.DefaultDir)
	if filepath.Dir(filepath.Clean(dir)) != parent {
		return ""
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return ""
	}
	var found []string
	for _, e := range entries {
		other := filepath.Join(parent, e.Name())
		if _, err := os.Lstat(filepath.Join(other, shm.FileName)); err == nil && len(found) < maxOthers {
			found = append(found, other)
		}
	}
	if found == nil {
		return ""
	}
	return "; there is " + strings.Join(found, ", ")
}
