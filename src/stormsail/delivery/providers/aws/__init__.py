"""The provider `aws`: a server group is an auto scaling group with a launch template behind target groups."""
