"""What every tab shares on the page: header, run list, time bar, guide, theme and URL."""
