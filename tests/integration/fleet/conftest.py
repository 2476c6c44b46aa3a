from integration.inventory.conftest import other_project_id, project_id

__all__ = ["other_project_id", "project_id"]
