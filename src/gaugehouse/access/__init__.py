"""Who is calling and what they may do: users, passwords, tokens, API keys, scopes.

Entry: `Access` turns a token, a key or a password into a `Caller`; `create_user` and `create_api_key` make them.
May import: database, measurements, limits, config, errors.
Invariants: secrets are stored hashed and shown once; a revocation holds after one second; what is not the caller's
project answers as missing; who does not exist costs the same work and gets the same answer as a wrong password;
a thousand guesses at an account from one address cost at most ten hashes a minute.
"""

from gaugehouse.access.access import Access as Access
from gaugehouse.access.access import IssuedToken as IssuedToken
from gaugehouse.access.api_keys import KEY_PREFIX as KEY_PREFIX
from gaugehouse.access.api_keys import ApiKeyView as ApiKeyView
from gaugehouse.access.api_keys import MadeApiKey as MadeApiKey
from gaugehouse.access.api_keys import NewApiKey as NewApiKey
from gaugehouse.access.api_keys import add_api_key as add_api_key
from gaugehouse.access.api_keys import create_api_key as create_api_key
from gaugehouse.access.api_keys import find_api_keys as find_api_keys
from gaugehouse.access.api_keys import get_api_key as get_api_key
from gaugehouse.access.api_keys import load_api_keys as load_api_keys
from gaugehouse.access.api_keys import move_device_keys as move_device_keys
from gaugehouse.access.api_keys import revoke_api_key as revoke_api_key
from gaugehouse.access.api_keys import rotate_api_key as rotate_api_key
from gaugehouse.access.caller import Caller as Caller
from gaugehouse.access.caller import Role as Role
from gaugehouse.access.caller import Scope as Scope
from gaugehouse.access.device_keys import DeviceKey as DeviceKey
from gaugehouse.access.device_keys import add_device_keys as add_device_keys
from gaugehouse.access.links import InvitationView as InvitationView
from gaugehouse.access.links import LinkKind as LinkKind
from gaugehouse.access.links import MadeLink as MadeLink
from gaugehouse.access.links import OpenLink as OpenLink
from gaugehouse.access.links import Reset as Reset
from gaugehouse.access.links import find_open_link as find_open_link
from gaugehouse.access.links import invite as invite
from gaugehouse.access.links import is_name_taken as is_name_taken
from gaugehouse.access.links import join_project as join_project
from gaugehouse.access.links import load_invitations as load_invitations
from gaugehouse.access.links import make_reset as make_reset
from gaugehouse.access.links import make_resets as make_resets
from gaugehouse.access.links import use_link as use_link
from gaugehouse.access.links import withdraw_invitation as withdraw_invitation
from gaugehouse.access.login_throttle import LOGIN_THROTTLED as LOGIN_THROTTLED
from gaugehouse.access.login_throttle import LockedOut as LockedOut
from gaugehouse.access.members import MemberView as MemberView
from gaugehouse.access.members import change_member as change_member
from gaugehouse.access.members import get_member as get_member
from gaugehouse.access.members import is_elsewhere as is_elsewhere
from gaugehouse.access.members import load_members as load_members
from gaugehouse.access.members import remove_member as remove_member
from gaugehouse.access.sessions import Reused as Reused
from gaugehouse.access.sessions import SessionLimits as SessionLimits
from gaugehouse.access.sessions import SessionView as SessionView
from gaugehouse.access.sessions import Started as Started
from gaugehouse.access.sessions import end_own_session as end_own_session
from gaugehouse.access.sessions import end_session as end_session
from gaugehouse.access.sessions import end_sessions as end_sessions
from gaugehouse.access.sessions import load_sessions as load_sessions
from gaugehouse.access.signing_keys import Rotated as Rotated
from gaugehouse.access.signing_keys import rotate_signing_key as rotate_signing_key
from gaugehouse.access.signing_secret import load_signing_secret as load_signing_secret
from gaugehouse.access.users import add_user as add_user
from gaugehouse.access.users import check_user_name as check_user_name
from gaugehouse.access.users import create_user as create_user
from gaugehouse.access.users import disable_user as disable_user
from gaugehouse.access.users import enable_user as enable_user
from gaugehouse.access.users import end_membership as end_membership
from gaugehouse.access.users import ensure_demo_users as ensure_demo_users
from gaugehouse.access.users import find_demo_accounts as find_demo_accounts
from gaugehouse.access.users import find_role as find_role
from gaugehouse.access.users import get_member_id as get_member_id
from gaugehouse.access.users import grant_role as grant_role
from gaugehouse.access.users import has_users as has_users
from gaugehouse.access.users import is_member as is_member
from gaugehouse.access.users import prepare_password as prepare_password
from gaugehouse.access.users import replace_password as replace_password
from gaugehouse.access.users import revoke_user as revoke_user
from gaugehouse.access.users import set_password as set_password
