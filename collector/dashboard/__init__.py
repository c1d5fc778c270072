"""The pages for people: HTML made of elements, without scripts, from what `admin_api` knows."""
