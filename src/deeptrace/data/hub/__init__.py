"""The release on the Hugging Face hub: fetched, checked and unpacked. A folder comes out; knows no records."""
