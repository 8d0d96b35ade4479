"""What everything else stands on: fields, HTTP, time, errors. No vendor in here."""
