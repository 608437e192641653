import CVNC
import Foundation
import Management

/// The one client that this process serves, for libvncserver's callbacks, all of which come on the one thread.
nonisolated(unsafe) private var current: VNCScreen?

/// A machine's screen as libvncserver's, and its one client.
///
/// libvncserver reads the picture where the machine's process writes it. Changes are asked for when the client has got the
/// last: a client that does not read has this process wait, and nobody else.
final class VNCScreen {
  private let screen: ScreenConnection
  private let socket: Int32
  /// As libvncserver wants passwords: a list, which lives as long as the process.
  private let passwords: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let hasPassword: Bool
  private var info: rfbScreenInfoPtr?
  private var client: rfbClientPtr?
  private var keys = KeySymbols()
  private var wheelButtons: Int32 = 0
  private var isAsking = false
  private var hasGone = false
  private var wasWrong = false

  /// Until then a client must have said its password.
  private static let entrance = Duration.seconds(30)

  init(_ session: VNCSession) {
    screen = session.screen
    socket = session.client
    passwords = .allocate(capacity: 2)
    passwords[0] = session.password.flatMap { strdup($0) }
    passwords[1] = nil
    hasPassword = session.password != nil
    current = self
  }

  /// Serves until the client or the machine has gone.
  /// - Returns: the status to exit with.
  func run() -> Int32 {
    rfbLogEnable(0)
    guard waitForPicture(), let info = makeScreen() else { return 1 }
    self.info = info
    client = rfbNewClient(info, socket)
    guard let client else { return 0 }
    let start = ContinuousClock.now
    while !hasGone {
      let isIn = client.pointee.state == RFB_NORMAL
      if !isIn, ContinuousClock.now - start > Self.entrance { break }
      ask(client)
      var waiting = [
        pollfd(fd: screen.socket, events: Int16(POLLIN), revents: 0),
        pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
      ]
      // While something is still to be sent libvncserver wants to be called again.
      let isBusy =
        isIn && sraRgnEmpty(client.pointee.modifiedRegion) == 0 && sraRgnEmpty(client.pointee.requestedRegion) == 0
      guard poll(&waiting, 2, isBusy ? 5 : isIn ? -1 : 1000) >= 0 || errno == EINTR else { break }
      if waiting[0].revents != 0, !hear(info) { break }
      rfbProcessEvents(info, 0)
    }
    // Who guesses does so slowly.
    if wasWrong { sleep(2) }
    return wasWrong ? VNCKeeper.wrongPassword : 0
  }

  private func waitForPicture() -> Bool {
    while screen.pixels == nil {
      screen.say(.wantsChanges)
      guard screen.hear() != nil else { return false }
    }
    return true
  }

  private func makeScreen() -> rfbScreenInfoPtr? {
    guard let info = rfbGetScreen(nil, nil, Int32(screen.width), Int32(screen.height), 8, 3, 4) else { return nil }
    info.pointee.frameBuffer = picture
    info.pointee.serverFormat.depth = 24
    info.pointee.desktopName = UnsafePointer(strdup(screen.machine))
    info.pointee.alwaysShared = 1
    info.pointee.port = -1
    info.pointee.ipv6port = -1
    info.pointee.deferUpdateTime = 0
    // The picture has the guest's pointer in it; libvncserver's own would be drawn into it.
    rfbSetCursor(info, nil)
    if hasPassword {
      info.pointee.authPasswdData = UnsafeMutableRawPointer(passwords)
      // None of the list may look on only.
      info.pointee.authPasswdFirstViewOnly = 2
      info.pointee.passwordCheck = { client, response, length in
        let isRight = rfbCheckPasswordByList(client, response, length)
        if isRight == 0 { current?.wasWrong = true }
        return isRight
      }
    }
    info.pointee.newClientHook = { client in
      client?.pointee.clientGoneHook = { _ in current?.hasGone = true }
      return RFB_CLIENT_ACCEPT
    }
    info.pointee.kbdAddEvent = { isDown, symbol, _ in current?.key(symbol, isDown != 0) }
    info.pointee.ptrAddEvent = { buttons, x, y, _ in current?.pointer(buttons, x, y) }
    // The guest says how large its screen is.
    info.pointee.setDesktopSizeHook = { _, _, _, _, _ in rfbExtDesktopSize_ResizeProhibited }
    rfbInitServerWithPthreadsAndZRLE(info)
    return info
  }

  private var picture: UnsafeMutablePointer<CChar>? {
    screen.pixels.map { UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: CChar.self) }
  }

  /// Asks for changes, once, when the client has got all that is known.
  private func ask(_ client: rfbClientPtr) {
    guard !isAsking, client.pointee.state == RFB_NORMAL, sraRgnEmpty(client.pointee.modifiedRegion) != 0 else { return }
    isAsking = screen.say(.wantsChanges)
  }

  /// - Returns: false when the machine has gone.
  private func hear(_ info: rfbScreenInfoPtr) -> Bool {
    switch screen.hear() {
    case .changes(let parts):
      isAsking = false
      for part in parts {
        rfbMarkRectAsModified(
          info, Int32(part.x), Int32(part.y), Int32(part.x + part.width), Int32(part.y + part.height))
      }
    case .picture(let width, let height):
      isAsking = false
      rfbNewFramebuffer(info, picture, Int32(width), Int32(height), 8, 3, 4)
    case .greeting: break
    case .gone, nil: return false
    }
    return true
  }

  private func key(_ symbol: rfbKeySym, _ isDown: Bool) {
    let codes = keys.event(symbol, isDown: isDown)
    if !codes.isEmpty { screen.say(.keys(codes)) }
  }

  /// VNC's buttons: left, middle, right, and the wheel's turns away from the user and towards him.
  private func pointer(_ mask: Int32, _ x: Int32, _ y: Int32) {
    let pressed = mask & ~wheelButtons
    wheelButtons = mask & 0x18
    let wheel = (pressed & 0x10 != 0 ? 1 : 0) - (pressed & 0x08 != 0 ? 1 : 0)
    let buttons = UInt8(mask & 1 | mask >> 1 & 2 | mask << 1 & 4)
    screen.say(.place(x: Int(x), y: Int(y), wheel: wheel, buttons: buttons))
  }
}
