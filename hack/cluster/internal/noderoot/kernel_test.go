package noderoot

import "testing"

func TestControllersWithoutAHierarchyAreShownAsDisabled(t *testing.T) {
	table := "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t9\t1\nhugetlb\t0\t1\t1\nrdma\t0\t1\t0\n"
	want := "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t9\t1\nhugetlb\t0\t1\t0\nrdma\t0\t1\t0\n"
	if got := disableMissing(table, []string{"cpu"}); got != want {
		t.Errorf("got\n%s", got)
	}
}
