import Foundation
import Machine
import Teleport

/// `controlvm NAME teleport --check`, on both sides.
extension VMProcess {
  /// Records are small; a file system with less is about to be full.
  private static let roomForRecords: UInt64 = 1 << 20

  /// Asks the target. Whatever is in the way, also of asking, is an obstacle.
  func checkTeleport(_ wish: TeleportRequest, _ session: ControlSession) throws -> ControlReply {
    let source = try claimSource(wish, session)
    session.whenCancelled { source.cancel() }
    defer { releaseSource() }
    var reply = ControlReply.done()
    var obstacles = roomObstacles().map { ObstacleWords.text($0, machine: "", side: .source) }
    do {
      let found = try source.check()
      let (fatal, others) = (found.obstacles.filter(\.isFatal), found.obstacles.filter { !$0.isFatal })
      func words(_ obstacle: TeleportObstacle) -> String {
        ObstacleWords.text(obstacle, machine: found.machine, side: .target)
      }
      obstacles += fatal.map(words)
      reply.notes = others.map(words)
      if found.isOfOlderTarget {
        reply.notes?.append(
          "the target is of an older version, which compares the hardware and says nothing of memory, ports and media")
      }
    } catch TeleportError.cancelled {
      throw TeleportError.cancelled
    } catch {
      obstacles.append(ManagementError.line(for: error))
    }
    reply.obstacles = obstacles
    return reply
  }

  /// What this host has against a machine that is to come.
  func obstaclesHere() -> [TeleportObstacle] {
    var obstacles = roomObstacles()
    let needed = definition.hardware.memoryMB + definition.hardware.vramMB
    if let available = Host.availableMemoryMB, available < needed {
      obstacles.append(.memory(needed: needed, available: available))
    }
    for network in networks {
      obstacles += network.refusedForwards().map { .forward(card: network.slot, reason: $0) }
    }
    return obstacles
  }

  private func roomObstacles() -> [TeleportObstacle] {
    guard let room = Host.roomLeft(at: folder.path), room < Self.roomForRecords else { return [] }
    return [.records("the file system of \(folder.path) has \(room >> 10) KB left")]
  }
}
