package confinement

import (
	"context"
	"fmt"
)

// Ready implements health.Check: it returns an error that names what the process has given up and is not in force on some thread, a
// *Less if it could look.
func (c *Confinement) Ready(context.Context) error { return c.check() }

func (c *Confinement) check() error {
	return everyThread(procDir, func(dir string) error {
		thread, err := readStatus(dir)
		if err != nil {
			return err
		}
		if err := c.holds(thread); err != nil {
			return &Less{Thread: dir, What: err}
		}
		return nil
	})
}

// holds returns an error that names what a thread may do and should not.
func (c *Confinement) holds(thread status) error {
	if err := thread.within(c.kept, "CapInh", "CapPrm", "CapEff", "CapAmb"); err != nil {
		return err
	}
	if err := thread.withoutNewPrivileges(); err != nil {
		return err
	}
	if err := thread.filtered(); err != nil {
		return err
	}
	if thread.filters() < c.filters {
		return fmt.Errorf("its %s is %d and should be %d", filtersKey, thread.filters(), c.filters)
	}
	return nil
}
